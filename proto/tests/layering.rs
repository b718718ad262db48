//! The order of modules and the purity of this crate, checked on its source text.
//!
//! A module may use only those in rows above its own (docs/architecture.md); a folder holds files, no folders. Nothing
//! here reads a clock, opens a socket, prints, spawns, or depends on the order of a hash map. Comments and strings do
//! not count: a doc link may point down.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules in the order of the data flow.
const ROWS: [&[&str]; 14] = [
    &["consts", "ls_type", "state", "time"],
    &["id"],
    &["wire"],
    &["lsa"],
    &["packet"],
    &["lsdb"],
    &["ctx"],
    &["neighbor"],
    &["iface"],
    &["flood"],
    &["spf"],
    &["rib"],
    &["origin"],
    &["engine"],
];

/// Paths that must not be used, with everything behind them.
const BANNED_PATHS: [&str; 12] = [
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::env",
    "std::fs",
    "std::io",
    "std::os",
    "std::process",
    "std::sync::mpsc",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
];

/// Modules that must be used item by item, so that what is banned in them cannot come in unseen.
const ITEM_BY_ITEM: [&str; 4] = ["std", "std::collections", "std::net", "std::time"];

/// Words that must not stand anywhere.
const BANNED_WORDS: [&str; 14] = [
    "HashMap",
    "HashSet",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "libc",
    "mio",
    "nix",
    "socket2",
    "tokio",
    "tracing",
    "unsafe",
];

/// Macros that must not be used.
const BANNED_MACROS: [&str; 5] = ["dbg", "eprint", "eprintln", "print", "println"];

/// Crates that must not be among the dependencies.
const BANNED_CRATES: [&str; 7] = ["async-std", "libc", "mio", "nix", "socket2", "tokio", "tracing"];

/// The row of a module.
fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|modules| modules.contains(&module))
}

/// The words and signs of a Rust text; `::` is one, comments and the insides of literals are left out.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            ('/', '*') => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= chars.len() {
                        break;
                    }
                }
            }
            ('"', _) => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            ('r', '"' | '#') if raw_string(&chars, i).is_some() => i = raw_string(&chars, i).unwrap(),
            ('\'', '\\') => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            (':', ':') => {
                tokens.push("::".to_owned());
                i += 2;
            }
            (c, _) if is_word(c) => {
                let start = i;
                while is_word(at(i)) {
                    i += 1;
                }
                let word: String = chars.get(start..i).unwrap_or_default().iter().collect();
                // The prefix of a byte or C string literal is no word.
                if at(i) != '"' || !["b", "c"].contains(&word.as_str()) {
                    tokens.push(word);
                }
            }
            (c, _) => {
                if !c.is_whitespace() {
                    tokens.push(c.to_string());
                }
                i += 1;
            }
        }
    }
    tokens
}

/// The end of the raw string that starts at `start`, if one does.
fn raw_string(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars.iter().skip(start + 1).take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let length = chars.get(open + 1..)?.windows(close.len()).position(|window| window == close)?;
    Some(open + 1 + length + close.len())
}

/// Every path that starts at `tokens[at]`, groups written out: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(tokens: &[String], at: usize) -> Vec<String> {
    let mut found = Vec::new();
    expand(tokens, at, "", &mut found);
    found
}

/// Adds what starts at `tokens[at]` behind `prefix`; the place behind it.
fn expand(tokens: &[String], at: usize, prefix: &str, found: &mut Vec<String>) -> usize {
    let token = |i: usize| tokens.get(i).map_or("", String::as_str);
    if token(at) == "{" {
        let mut i = at + 1;
        while !["}", ""].contains(&token(i)) {
            i = if token(i) == "," { i + 1 } else { expand(tokens, i, prefix, found) };
        }
        return i + 1;
    }
    let path = format!("{prefix}{}", token(at));
    if token(at + 1) == "::" && token(at + 2) != "<" {
        return expand(tokens, at + 2, &format!("{path}::"), found);
    }
    found.push(path.trim_end_matches("::self").to_owned());
    let mut next = at + 1;
    if token(next) == "as" {
        next += 2;
    }
    next
}

/// Where a file stands: the module it belongs to, and whether it is that module's root file.
struct Place<'a> {
    module: &'a str,
    is_root: bool,
}

/// What is wrong with a file.
fn violations(place: &Place<'_>, text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let token = |i: usize| tokens.get(i).map_or("", String::as_str);
    let mut wrong = Vec::new();
    for (i, word) in tokens.iter().enumerate() {
        if BANNED_WORDS.contains(&word.as_str()) {
            wrong.push(format!("{word} must not be used"));
        }
        if BANNED_MACROS.contains(&word.as_str()) && token(i + 1) == "!" {
            wrong.push(format!("{word}! must not be used"));
        }
        match word.as_str() {
            "crate" if token(i + 1) == "::" => {
                wrong.extend(paths(&tokens, i).iter().filter_map(|path| against_the_order(place, path)));
            }
            "crate" if token(i + 1) == "as" || token(i + 1) == ";" => {
                wrong.push("the crate must be used module by module".to_owned());
            }
            // A module's root file has the crate as its parent, and any other file has it as its grandparent.
            "super" if i == 0 || token(i - 1) != "::" => {
                for path in paths(&tokens, i) {
                    let names = path.trim_start_matches("super::");
                    let parents = path.matches("super::").count();
                    let first = names.split("::").next().unwrap_or_default();
                    if parents >= if place.is_root { 1 } else { 2 } && row(first).is_some() {
                        wrong.extend(against_the_order(place, &format!("crate::{names}")));
                    }
                }
            }
            "std" | "core" | "alloc" => {
                wrong.extend(paths(&tokens, i).iter().filter_map(|path| impure(path)));
            }
            _ => {}
        }
    }
    wrong
}

/// Why a module must not use a path that starts with `crate::`.
fn against_the_order(place: &Place<'_>, path: &str) -> Option<String> {
    let Place { module, .. } = place;
    let used = path.split("::").nth(1).unwrap_or_default();
    if used == *module {
        return None;
    }
    match (row(used), row(module)) {
        (Some(used), Some(module)) if used < module => None,
        (Some(_), _) => Some(format!("{path} is not in a row above {module}")),
        (None, _) => Some(format!("{path} leads to no module of any row")),
    }
}

/// Why a path of the standard library must not be used.
fn impure(path: &str) -> Option<String> {
    let path = path.replacen("core::", "std::", 1).replacen("alloc::", "std::", 1);
    let within = |banned: &str| path == banned || path.starts_with(&format!("{banned}::"));
    if BANNED_PATHS.iter().any(|banned| within(banned)) {
        return Some(format!("{path} must not be used"));
    }
    let module = path.trim_end_matches("::*");
    ITEM_BY_ITEM.contains(&module).then(|| format!("{path} must be used item by item"))
}

/// The files of a folder, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|name| name.to_str()).expect("a name in UTF-8")
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules that lib.rs declares, in order.
fn declared() -> Vec<String> {
    let tokens = tokens(&fs::read_to_string(source().join("lib.rs")).unwrap());
    let name = |words: &[String]| match words {
        [keyword, name, end] if keyword == "mod" && end == ";" => Some(name.clone()),
        _ => None,
    };
    tokens.windows(3).filter_map(name).collect()
}

#[test]
fn a_module_uses_only_rows_above_it_and_nothing_impure() {
    let mut wrong = Vec::new();
    let mut files = 0;
    let mut check = |path: &Path, place: &Place<'_>| {
        files += 1;
        let text = fs::read_to_string(path).unwrap();
        wrong.extend(violations(place, &text).into_iter().map(|why| format!("{}: {why}", path.display())));
    };
    for entry in entries(&source()) {
        let module = stem(&entry);
        if entry.is_file() {
            check(&entry, &Place { module, is_root: true });
            continue;
        }
        for file in entries(&entry) {
            assert!(file.is_file(), "{}: no folder within a folder", file.display());
            check(&file, &Place { module, is_root: stem(&file) == "mod" });
        }
    }
    assert!(files > 40, "only {files} files were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_row_and_lib_rs_lists_them_in_order() {
    let rows: Vec<&str> = ROWS.iter().flat_map(|row| row.iter().copied()).collect();
    assert_eq!(declared(), rows);
    let mut found: Vec<String> = entries(&source()).iter().map(|path| stem(path).to_owned()).collect();
    found.retain(|module| module != "lib");
    let mut sorted = rows.clone();
    sorted.sort_unstable();
    assert_eq!(found, sorted);
}

/// The crates in the output of `cargo tree` that must not be there.
fn impure_crates(tree: &str) -> Vec<&str> {
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| BANNED_CRATES.iter().any(|banned| name == banned || name.starts_with(&format!("{banned}-"))))
        .collect()
}

#[test]
fn no_dependency_does_input_or_output() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "-p", "ospf-proto", "-e", "normal", "--prefix", "none", "--target", "all"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.starts_with("ospf-proto ") && tree.contains("ipnetwork "), "not a tree of this crate:\n{tree}");
    assert_eq!(impure_crates(&tree), Vec::<&str>::new());
}

/// The violations of one line in some file of `spf`.
fn planted(line: &str) -> Vec<String> {
    violations(&Place { module: "spf", is_root: false }, line)
}

#[test]
fn the_checker_finds_what_is_planted() {
    let lines = [
        "use crate::rib::Route;",
        "use crate::{id::RouterId, engine::{Input, Output}};",
        "use crate::nowhere::Thing;",
        "use crate::*;",
        "use crate as whole;",
        "fn f() -> crate :: origin :: Origin { todo() }",
        "use super::super::rib::Route;",
        "use std::time::Instant;",
        "use std::time::{Duration, SystemTime};",
        "use std::{fmt, time::{self, Duration}};",
        "use std::time;",
        "use std::time::*;",
        "let now = ::std::time::Instant::now();",
        "use core::time::*;",
        "use std::collections::{BTreeMap, HashMap};",
        "use std::collections::*;",
        "use std::net::UdpSocket;",
        "use std::net::{Ipv6Addr, TcpStream as Stream};",
        "use std::{io, fmt};",
        "std::thread::sleep(delay);",
        "tokio::spawn(f);",
        "println!(\"{x}\");",
        "eprintln ! (\"\");",
        "dbg!(x);",
        "unsafe { f() }",
        "tracing::info!(\"\");",
        "let quote = '\"'; println!(\"\");",
        "let text = \"\\\"\"; unsafe {}",
        "let text = r#\"\"\"#; unsafe {}",
        "/* /* */ */ unsafe {}",
        "// ends here\nunsafe {}",
        "let escaped = '\\''; unsafe {}",
        "fn f<'a>(x: &'a str) { unsafe {} }",
    ];
    for line in lines {
        assert!(!planted(line).is_empty(), "not found: {line}");
    }
    let root = Place { module: "spf", is_root: true };
    assert_eq!(violations(&root, "use super::rib::Route;"), ["crate::rib::Route is not in a row above spf"]);
    assert_eq!(violations(&Place { module: "id", is_root: true }, "use crate::lsa::Lsa;").len(), 1);
    assert_eq!(violations(&Place { module: "time", is_root: true }, "use crate::state::IfaceState;").len(), 1);
}

#[test]
fn the_checker_lets_pass_what_is_allowed() {
    let lines = [
        "use crate::id::{AreaId, Domain};",
        "use crate::spf::{Graph, tree::{self, Tree}};",
        "use crate::{lsdb::Lsdb, time::Instant};",
        "use super::rib::Own;",
        "use super::super::spf::Graph;",
        "use std::time::Duration;",
        "use std::{fmt, collections::{BTreeMap, btree_map::Entry}};",
        "use std::net::{Ipv6Addr, SocketAddrV6};",
        "//! [`crate::engine::Engine`]; println!() is unsafe",
        "/* tokio */ let text = \"use crate::rib; unsafe { println!() }\";",
        "let text = r#\"unsafe \" HashMap\"#; let bytes = b\"tokio\";",
        "#![forbid(unsafe_code)]",
        "pub(crate) fn print(x: u8) {}",
    ];
    for line in lines {
        assert_eq!(planted(line), Vec::<String>::new(), "{line}");
    }
    assert!(violations(&Place { module: "id", is_root: true }, "use crate::ls_type::LsType;").is_empty());
}

#[test]
fn the_checker_finds_a_planted_crate() {
    let tree = "ospf-proto v0.1.0 (somewhere)\nbitflags v2.0.0\ntracing-core v0.1.0\nnix v0.31.0\nnixie v1.0.0 (*)\n";
    assert_eq!(impure_crates(tree), ["tracing-core", "nix"]);
}
