//! What survives a restart: which services are drained and which share routers there are, in the state directory, written
//! atomically.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use ospf_proto::id::RouterId;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The drains that the operator ordered.
#[derive(Clone, Debug)]
pub struct Drains {
    path: PathBuf,
    /// By name: whether the drain was done, so that nothing is to be advertised first.
    names: BTreeMap<String, bool>,
}

impl Drains {
    /// Reads them; a file that is not there means none.
    pub fn load(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("drains.json");
        Ok(Drains { names: read(&path)?, path })
    }

    /// Whether a service is drained, and then whether that was done.
    pub fn get(&self, name: &str) -> Option<bool> {
        self.names.get(name).copied()
    }

    /// Drains (to be done, or done) or undrains; the new state holds at once, and is on disk if no error is returned.
    pub fn set(&mut self, name: &str, drained: Option<bool>) -> io::Result<()> {
        match drained {
            Some(done) => self.names.insert(name.to_owned(), done),
            None => self.names.remove(name),
        };
        write(&self.path, &self.names)
    }
}

/// The share routers that may have LSAs in the area: those of this life, and of former ones until they are flushed.
#[derive(Clone, Debug)]
pub struct ShareIds {
    path: PathBuf,
    ids: BTreeSet<u32>,
}

impl ShareIds {
    /// Reads them; a file that is not there means none.
    pub fn load(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("shares.json");
        Ok(ShareIds { ids: read(&path)?, path })
    }

    /// Their Router IDs.
    pub fn get(&self) -> BTreeSet<RouterId> {
        self.ids.iter().map(|id| RouterId(*id)).collect()
    }

    /// Sets them; on disk if no error is returned.
    pub fn set(&mut self, ids: &BTreeSet<RouterId>) -> io::Result<()> {
        let ids = ids.iter().map(|id| id.0).collect();
        if self.ids == ids {
            return Ok(());
        }
        self.ids = ids;
        write(&self.path, &self.ids)
    }
}

fn read<T: DeserializeOwned + Default>(path: &Path) -> io::Result<T> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let fresh = path.with_extension("json.new");
    std::fs::write(&fresh, serde_json::to_vec(value)?)?;
    std::fs::File::open(&fresh)?.sync_all()?;
    std::fs::rename(&fresh, path)?;
    // The new name too shall survive a loss of power.
    path.parent().map_or(Ok(()), |directory| std::fs::File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_survives_a_restart_and_an_undrain_too() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("sub");
        let mut drains = Drains::load(&state).unwrap();
        assert_eq!(drains.get("dns"), None);
        drains.set("dns", Some(false)).unwrap();
        assert_eq!(Drains::load(&state).unwrap().get("dns"), Some(false));
        drains.set("dns", Some(true)).unwrap();
        assert_eq!(Drains::load(&state).unwrap().get("dns"), Some(true));
        drains.set("dns", None).unwrap();
        assert_eq!(Drains::load(&state).unwrap().get("dns"), None);
    }

    #[test]
    fn a_state_that_cannot_be_read_is_an_error_and_not_an_empty_state() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("drains.json"), "nonsense").unwrap();
        assert!(Drains::load(directory.path()).is_err());
    }

    #[test]
    fn share_routers_are_remembered_until_they_are_flushed() {
        let directory = tempfile::tempdir().unwrap();
        let mut shares = ShareIds::load(directory.path()).unwrap();
        assert!(shares.get().is_empty());
        shares.set(&[RouterId(7), RouterId(8)].into()).unwrap();
        assert_eq!(ShareIds::load(directory.path()).unwrap().get(), [RouterId(7), RouterId(8)].into());
        shares.set(&BTreeSet::new()).unwrap();
        assert!(ShareIds::load(directory.path()).unwrap().get().is_empty());
    }
}
