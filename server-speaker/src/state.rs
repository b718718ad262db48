//! What survives a restart: the names of drained services, in the state directory, written atomically.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The drains that the operator ordered.
#[derive(Clone, Debug)]
pub struct Drains {
    path: PathBuf,
    names: BTreeSet<String>,
}

impl Drains {
    /// Reads them; a file that is not there means none.
    pub fn load(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("drains.json");
        let names = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        Ok(Drains { path, names })
    }

    /// Whether a service is drained.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Drains or undrains; the new state holds at once, and is on disk if no error is returned.
    pub fn set(&mut self, name: &str, drained: bool) -> io::Result<()> {
        if drained {
            self.names.insert(name.to_owned());
        } else {
            self.names.remove(name);
        }
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let fresh = self.path.with_extension("json.new");
        std::fs::write(&fresh, serde_json::to_vec(&self.names)?)?;
        std::fs::File::open(&fresh)?.sync_all()?;
        std::fs::rename(&fresh, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_survives_a_restart_and_an_undrain_too() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("sub");
        let mut drains = Drains::load(&state).unwrap();
        assert!(!drains.contains("dns"));
        drains.set("dns", true).unwrap();
        assert!(Drains::load(&state).unwrap().contains("dns"));
        drains.set("dns", false).unwrap();
        assert!(!Drains::load(&state).unwrap().contains("dns"));
    }

    #[test]
    fn a_state_that_cannot_be_read_is_an_error_and_not_an_empty_state() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("drains.json"), "nonsense").unwrap();
        assert!(Drains::load(directory.path()).is_err());
    }
}
