//! A file in which somebody keeps a number up to date.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use crate::monitor::reading::Unreadable;

/// No number is longer.
const SIZE_MAX: u64 = 4096;

/// The text of the file, unless nobody has written it for the time `stale`.
pub(super) async fn read(path: PathBuf, stale: Duration) -> Result<String, Unreadable> {
    // A file system may take its time.
    let read = tokio::task::spawn_blocking(move || read_now(&path, stale, SystemTime::now()));
    read.await.map_err(|error| Unreadable(error.to_string()))?
}

fn read_now(path: &Path, stale: Duration, now: SystemTime) -> Result<String, Unreadable> {
    let failed = |error: io::Error| Unreadable(error.to_string());
    // A named pipe would wait for a writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Unreadable("not a file".into()));
    }
    // One that was written in the future is new: the clock was set.
    let age = now.duration_since(metadata.modified().map_err(failed)?).unwrap_or_default();
    if age >= stale {
        return Err(Unreadable(format!("not written for {} s", age.as_secs())));
    }
    let mut text = String::new();
    file.take(SIZE_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SIZE_MAX {
        return Err(Unreadable(format!("more than {SIZE_MAX} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Duration = Duration::from_secs(4);

    #[test]
    fn one_that_nobody_writes_any_more_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("load");
        let read = |now| read_now(&path, STALE, now).map_err(|error| error.0);
        assert!(read(SystemTime::now()).unwrap_err().contains("No such file"));
        std::fs::write(&path, "0.73\n").unwrap();
        assert_eq!(read(SystemTime::now()), Ok("0.73\n".into()));
        assert_eq!(read(SystemTime::now() + STALE), Err("not written for 4 s".into()));
        assert!(read(SystemTime::now() - STALE).is_ok());
    }

    #[tokio::test]
    async fn what_is_no_small_text_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let refused = async |path: &Path| read(path.to_owned(), STALE).await.unwrap_err().0;
        assert_eq!(refused(dir.path()).await, "not a file");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(refused(&path).await, "not a file");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, [0xff]).unwrap();
        assert!(refused(&path).await.contains("UTF-8"));
        std::fs::write(&path, "1".repeat(5000)).unwrap();
        assert_eq!(refused(&path).await, "more than 4096 bytes");
    }
}
