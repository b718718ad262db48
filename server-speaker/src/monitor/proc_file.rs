//! A file of /proc that is kept open: it answers anew at every reading from its start.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::MonitorError;

/// The open file.
#[derive(Debug)]
pub(super) struct ProcFile {
    path: &'static str,
    file: File,
    buffer: Vec<u8>,
}

impl ProcFile {
    /// Opens it; below `/proc/thread-self/net` for the namespace of this thread.
    pub(super) fn open(path: &'static str) -> Result<Self, MonitorError> {
        let file = File::open(path).map_err(|source| MonitorError::File { path, source })?;
        Ok(ProcFile { path, file, buffer: vec![0; 16 * 1024] })
    }

    /// What it says now, up to the size of the buffer, which is several times what such a file has.
    pub(super) fn read(&mut self) -> Result<Cow<'_, str>, MonitorError> {
        let path = self.path;
        let mut filled = 0;
        while let Some(rest) = self.buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, filled as u64).map_err(|source| MonitorError::File { path, source })? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(String::from_utf8_lossy(self.buffer.get(..filled).unwrap_or_default()))
    }
}
