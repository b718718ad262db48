use std::time::Duration;

use super::*;

/// A hierarchy as the kernel shows it: files of a machine with all controllers, and a group in a slice.
struct Tree {
    dir: tempfile::TempDir,
    began: Instant,
}

impl Tree {
    fn new() -> Self {
        let tree = Tree { dir: tempfile::tempdir().unwrap(), began: Instant::now() };
        fs::create_dir_all(tree.group()).unwrap();
        for group in [tree.dir.path(), &tree.slice(), &tree.group()] {
            fs::write(group.join(MARK), "cpuset cpu io memory pids\n").unwrap();
        }
        fs::write(tree.dir.path().join("cpuset.cpus.effective"), "0-3\n").unwrap();
        for group in [tree.slice(), tree.group()] {
            fs::write(group.join("cpu.max"), "max 100000\n").unwrap();
        }
        tree.used(0);
        tree.waited(0);
        tree
    }

    fn slice(&self) -> PathBuf {
        self.dir.path().join("system.slice")
    }

    fn group(&self) -> PathBuf {
        self.slice().join("knot.service")
    }

    fn used(&self, micros: u64) {
        let text = format!(
            "usage_usec {micros}\nuser_usec {micros}\nsystem_usec 0\nnice_usec 0\ncore_sched.force_idle_usec 0\n\
             nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n"
        );
        fs::write(self.group().join("cpu.stat"), text).unwrap();
    }

    fn waited(&self, micros: u64) {
        let text = format!(
            "some avg10=0.00 avg60=0.12 avg300=0.05 total={micros}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
        );
        fs::write(self.group().join("cpu.pressure"), text).unwrap();
    }

    fn cgroup(&self, psi: bool) -> Cgroup {
        let mut cgroup = Cgroup::new(CgroupConfig { place: Place::Path(self.group()), psi, cpus: None });
        assert_eq!(self.read(&mut cgroup, 0), Err("read for the first time".into()));
        cgroup
    }

    fn read(&self, cgroup: &mut Cgroup, at: u64) -> Result<f64, String> {
        let usage = cgroup.read(self.began + Duration::from_secs(at)).map_err(|error| error.0)?;
        Ok((1000.0 * usage.utilisation()).round() / 1000.0)
    }
}

#[test]
fn the_cpu_time_is_set_against_the_cpus_of_the_machine() {
    let tree = Tree::new();
    let mut cgroup = tree.cgroup(false);
    tree.used(2_000_000);
    assert_eq!(tree.read(&mut cgroup, 1), Ok(0.5));
    tree.used(2_400_000);
    assert_eq!(tree.read(&mut cgroup, 3), Ok(0.05));
    assert_eq!(tree.read(&mut cgroup, 3), Err("read twice at once".into()));
}

#[test]
fn the_least_quota_on_the_way_to_the_root_is_the_capacity() {
    let tree = Tree::new();
    let mut cgroup = tree.cgroup(false);
    fs::write(tree.slice().join("cpu.max"), "150000 100000\n").unwrap();
    tree.used(1_200_000);
    assert_eq!(tree.read(&mut cgroup, 1), Ok(0.8));
    fs::write(tree.group().join("cpu.max"), "50000 50000\n").unwrap();
    tree.used(2_200_000);
    assert_eq!(tree.read(&mut cgroup, 2), Ok(1.0));
    fs::write(tree.group().join("cpu.max"), "900000 100000\n").unwrap();
    tree.used(3_700_000);
    assert_eq!(tree.read(&mut cgroup, 3), Ok(1.0), "the slice has less");
    cgroup.config.cpus = Some(1.0);
    tree.used(4_200_000);
    assert_eq!(tree.read(&mut cgroup, 4), Ok(0.5), "one worker");
}

#[test]
fn a_cpuset_of_the_group_counts_before_that_of_the_root() {
    let tree = Tree::new();
    let mut cgroup = tree.cgroup(false);
    fs::write(tree.group().join("cpuset.cpus.effective"), "1,3\n").unwrap();
    tree.used(1_000_000);
    assert_eq!(tree.read(&mut cgroup, 1), Ok(0.5));
}

#[test]
fn time_waited_for_a_cpu_is_busy_time() {
    let tree = Tree::new();
    let mut cgroup = tree.cgroup(true);
    cgroup.config.cpus = Some(1.0);
    tree.used(500_000);
    tree.waited(400_000);
    assert_eq!(tree.read(&mut cgroup, 1), Ok(0.9));
    let mut without = Cgroup::new(CgroupConfig { psi: false, ..cgroup.config.clone() });
    assert!(tree.read(&mut without, 1).is_err());
    tree.used(1_000_000);
    assert_eq!(tree.read(&mut without, 2), Ok(0.5));
}

#[test]
fn a_restarted_unit_is_read_anew() {
    let tree = Tree::new();
    let mut cgroup = tree.cgroup(true);
    tree.used(5_000_000);
    assert!(tree.read(&mut cgroup, 1).is_ok());
    tree.used(1_000);
    assert_eq!(tree.read(&mut cgroup, 2), Err("read for the first time".into()));
    assert_eq!(tree.read(&mut cgroup, 3), Ok(0.0));
    // Away, and there again with more CPU time than before: another directory.
    let old = tree.slice().join("old");
    fs::rename(tree.group(), old).unwrap();
    assert!(tree.read(&mut cgroup, 4).unwrap_err().contains("knot.service: No such file"));
    assert!(cgroup.look().is_err());
    fs::create_dir(tree.group()).unwrap();
    fs::write(tree.group().join(MARK), "cpu\n").unwrap();
    tree.used(900_000_000);
    tree.waited(1);
    assert_eq!(tree.read(&mut cgroup, 5), Err("read for the first time".into()));
    assert_eq!(tree.read(&mut cgroup, 6), Ok(0.0));
}

#[test]
fn a_directory_replaced_between_two_readings_is_another_group() {
    let tree = Tree::new();
    let mut cgroup = tree.cgroup(false);
    fs::rename(tree.group(), tree.slice().join("old")).unwrap();
    fs::create_dir(tree.group()).unwrap();
    tree.used(900_000_000);
    assert_eq!(tree.read(&mut cgroup, 1), Err("read for the first time".into()));
}

#[test]
fn files_that_make_no_sense_are_refused() {
    let tree = Tree::new();
    for (file, texts) in [
        ("cpu.stat", ["", "usage_usec -1\n", "usage_usec 1e30\n", "usage_usec\n"]),
        ("cpu.pressure", ["", "some avg10=0\n", "some total=x\n", "full total=3\n"]),
        ("cpu.max", ["", "max\n", "0 100000\n", "-5 100000\n"]),
        ("cpuset.cpus.effective", ["\n", "3-1\n", "x\n", "0-4294967295\n"]),
    ] {
        let path = tree.group().join(file);
        let good = fs::read(&path).ok();
        for text in texts {
            let mut cgroup = tree.cgroup(true);
            fs::write(&path, text).unwrap();
            let error = tree.read(&mut cgroup, 1).unwrap_err();
            assert!(error.contains(file) && error.contains("makes no sense"), "{error}");
            match &good {
                Some(good) => fs::write(&path, good).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
        }
    }
    fs::remove_file(tree.group().join("cpu.pressure")).unwrap();
    let error = Cgroup::new(CgroupConfig { place: Place::Path(tree.group()), psi: true, cpus: None }).look();
    assert!(error.unwrap_err().0.contains("cpu.pressure: No such file"));
}

#[test]
fn a_unit_is_found_where_the_service_manager_puts_it() {
    assert_eq!(below_mount("knot.service"), Path::new("system.slice/knot.service"));
    let instance = below_mount("dns-cache@a.service");
    assert_eq!(instance, Path::new("system.slice/system-dns\\x2dcache.slice/dns-cache@a.service"));
    let unit = Place::Unit("knot.service".into()).directory();
    assert!(unit.starts_with(MOUNT) && unit.ends_with("system.slice/knot.service"), "{unit:?}");
}

#[test]
fn the_cpus_of_this_machine_are_known() {
    assert!(field(Path::new(ONLINE), count).unwrap() >= 1.0);
}
