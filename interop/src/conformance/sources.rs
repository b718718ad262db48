//! Finds tests and functions in the sources, by name: no build, so that the check is a matter of milliseconds.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{CodeRef, TestRef};

/// The crates whose unit tests the table may name, each with its folder and package.
const CRATES: [(&str, &str, &str); 4] = [
    ("ospf_proto", "proto", "ospf-proto"),
    ("ospfd_lite", "ospfd-lite", "ospfd-lite"),
    ("server_speaker", "server-speaker", "server-speaker"),
    ("interop", "interop", "interop"),
];

/// The files of a workspace, read once each.
#[derive(Debug)]
pub struct Sources {
    workspace: PathBuf,
    files: BTreeMap<PathBuf, String>,
}

/// How cargo runs a test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The package.
    pub package: &'static str,
    /// The file of integration tests; none: a unit test of the library.
    pub target: Option<String>,
    /// The path of the test within it.
    pub path: String,
}

impl Sources {
    /// Of this workspace.
    pub fn new(workspace: &Path) -> Self {
        Self { workspace: workspace.to_owned(), files: BTreeMap::new() }
    }

    fn read(&mut self, path: &Path) -> Result<&str> {
        if !self.files.contains_key(path) {
            let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            self.files.insert(path.to_owned(), text);
        }
        Ok(self.files.get(path).map(String::as_str).unwrap_or_default())
    }

    /// Where a test is; an error if there is none of that name.
    pub fn test(&mut self, test: &TestRef) -> Result<Place> {
        let TestRef(text) = test;
        let (first, path) = text.split_once("::").with_context(|| format!("no test: {text:?}"))?;
        let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
        let unit = CRATES.iter().find(|(crate_, ..)| *crate_ == first);
        let (package, target, candidates) = match unit {
            Some((_, folder, package)) => {
                let source = self.workspace.join(folder).join("src");
                (*package, None, module_files(&source, module))
            }
            None => {
                let (folder, package, root) = self.test_file(first)?;
                let inside = if root.ends_with("main.rs") && !module.is_empty() {
                    module_files(&folder, module)
                } else {
                    vec![root]
                };
                (package, Some(first.to_owned()), inside)
            }
        };
        for file in candidates {
            if file.is_file() && has_test(self.read(&file)?, name) {
                return Ok(Place { package, target, path: path.to_owned() });
            }
        }
        bail!("there is no test {text}")
    }

    /// The file of integration tests of this name: its folder, package and root.
    fn test_file(&self, target: &str) -> Result<(PathBuf, &'static str, PathBuf)> {
        for (_, folder, package) in CRATES {
            let tests = self.workspace.join(folder).join("tests");
            let (flat, deep) = (tests.join(format!("{target}.rs")), tests.join(target).join("main.rs"));
            if flat.is_file() {
                return Ok((tests, package, flat));
            }
            if deep.is_file() {
                return Ok((tests.join(target), package, deep));
            }
        }
        bail!("there is no file of tests {target}")
    }

    /// Whether a function, type or constant of this name is in its file; an error if not.
    pub fn function(&mut self, code: &CodeRef) -> Result<()> {
        let path = self.workspace.join(&code.file);
        let text = self.read(&path)?;
        let found = ["fn ", "const ", "struct ", "enum ", "trait "].iter().any(|keyword| {
            text.match_indices(&format!("{keyword}{}", code.name)).any(|(at, matched)| {
                let behind = text.get(at + matched.len()..).and_then(|rest| rest.chars().next());
                behind.is_some_and(|c| !c.is_alphanumeric() && c != '_')
            })
        });
        if !found {
            bail!("{} holds no {}", code.file, code.name);
        }
        Ok(())
    }
}

/// The files that may hold the module `a::b::tests`: its own, or that of a module around it.
fn module_files(source: &Path, module: &str) -> Vec<PathBuf> {
    let parts: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    let mut files = Vec::new();
    for count in (0..=parts.len()).rev() {
        let path = parts.iter().take(count).fold(source.to_owned(), |path, part| path.join(part));
        if count == 0 {
            files.extend([path.join("lib.rs"), path.join("main.rs")]);
        } else {
            files.extend([path.with_extension("rs"), path.join("mod.rs")]);
        }
    }
    files
}

/// Whether a file holds a test of this name: under `#[test]` (also in `proptest!`), listed in `lab_tests!`
/// or spelt in a `LabTest`.
fn has_test(text: &str, name: &str) -> bool {
    let mut marked = false;
    let mut function = false;
    for line in text.lines().map(str::trim) {
        let names_it =
            line.strip_prefix("fn ").and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with('('));
        if names_it && marked {
            return true;
        }
        function |= names_it;
        // Between the attribute and the function stand other attributes and comments only.
        marked = line == "#[test]" || (marked && (line.starts_with("#[") || line.starts_with("//")));
    }
    let spelt =
        text.split("LabTest::new(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    if spelt.into_iter().any(|spelt| spelt == name) {
        return true;
    }
    let listed = text.split("lab_tests![").skip(1).filter_map(|rest| rest.split(']').next());
    function && listed.flat_map(|list| list.split(',')).any(|listed| listed.trim() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_marked_or_listed_is_a_test() {
        let text = r#"
            #[test]
            // why
            fn one() {}
            fn two() {}
            fn three(lab: &mut Lab) {}
            let tests = lab_tests![
                three,
            ];
            let more = LabTest::new(
                "seven", seven_does_it);
            #[test]
            fn four_and_more() {}
            // #[test]
            fn five() {}
            #[test] fn six() {}
        "#;
        let found: Vec<&str> = ["one", "two", "three", "four", "four_and_more", "five"]
            .into_iter()
            .filter(|n| has_test(text, n))
            .collect();
        assert_eq!(found, ["one", "three", "four_and_more"]);
    }

    #[test]
    fn a_module_is_in_its_own_file_or_in_one_around_it() {
        let files = module_files(Path::new("src"), "spf::tests");
        let wanted =
            ["src/spf/tests.rs", "src/spf/tests/mod.rs", "src/spf.rs", "src/spf/mod.rs", "src/lib.rs", "src/main.rs"];
        assert_eq!(files, wanted.map(PathBuf::from));
    }
}
