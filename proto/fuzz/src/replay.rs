//! The kept inputs of a target: what its corpus and its regressions hold.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is a finding")]

use std::fs;
use std::path::{Path, PathBuf};

/// The inputs of `target` below `directory` (this crate's), regressions first, by name.
pub fn inputs(directory: &Path, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut inputs = Vec::new();
    for kind in ["regressions", "corpus"] {
        let folder = directory.join(kind).join(target);
        let entries = fs::read_dir(&folder).into_iter().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        inputs.extend(paths.into_iter().map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        }));
    }
    inputs
}
