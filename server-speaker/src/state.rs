//! What survives a restart: which services are drained, in the state directory, written atomically.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

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
        let names = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Drains { path, names })
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
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let fresh = self.path.with_extension("json.new");
        std::fs::write(&fresh, serde_json::to_vec(&self.names)?)?;
        std::fs::File::open(&fresh)?.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        // The new name too shall survive a loss of power.
        self.path.parent().map_or(Ok(()), |directory| std::fs::File::open(directory)?.sync_all())
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
}
