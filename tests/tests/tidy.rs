//! The house rules that a machine can keep: layout, arrows, first lines, lengths, names, shapes, recipes, README.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cvx_tests::project_root;

/// Everything that may stand at the top, besides dotfiles and what a build leaves behind.
const TOP: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "backbone",
    "heads",
    "data",
    "tools",
    "configs",
    "tests",
];

/// Which of our crates each crate may use.
const ARROWS: [(&str, &[&str]); 5] = [
    ("backbone", &[]),
    ("heads", &["backbone"]),
    ("data", &[]),
    ("tools", &["backbone", "heads", "data"]),
    ("tests", &["backbone", "heads", "data", "tools"]),
];

/// Names for what has none.
const FORBIDDEN_NAMES: [&str; 7] = ["utils", "common", "helpers", "misc", "types", "base", "core"];

const MAX_LINES: usize = 400;

fn files_under(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with("target") && name != "vendor" {
            found.extend(files_under(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Our Rust files with their text, paths relative to the project's root.
fn rust_files() -> Vec<(String, String)> {
    let root = project_root();
    ARROWS
        .iter()
        .flat_map(|(krate, _)| files_under(&root.join(krate), "rs"))
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[track_caller]
fn assert_none(rule: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

#[test]
fn the_top_level_is_the_house_and_nothing_else() {
    let offences = fs::read_dir(project_root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !name.starts_with("target") && name != "runs")
        .filter(|name| !TOP.contains(&name.as_str()))
        .collect();
    assert_none("only these stand at the top", offences);
}

#[test]
fn crates_depend_along_the_arrows_only() {
    let mut offences = Vec::new();
    for (krate, allowed) in ARROWS {
        let manifest = fs::read_to_string(project_root().join(krate).join("Cargo.toml")).unwrap();
        for (other, _) in ARROWS.iter().filter(|(other, _)| !allowed.contains(other) && *other != krate) {
            if manifest.lines().any(|line| line.starts_with(&format!("cvx-{other}"))) {
                offences.push(format!("{krate} depends on {other}"));
            }
        }
        if krate == "data" && manifest.lines().any(|line| line.starts_with("burn")) {
            offences.push("data depends on Burn".into());
        }
    }
    assert_none("crates depend along the arrows only", offences);
}

#[test]
fn every_file_says_on_its_first_line_what_it_is() {
    let offences =
        rust_files().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name);
    assert_none("the first line starts with `//! `", offences.collect());
}

#[test]
fn no_file_is_longer_than_a_sitting() {
    let offences = rust_files()
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(name, lines)| format!("{name}: {lines} lines"));
    assert_none("a file has at most 400 lines", offences.collect());
}

#[test]
fn no_room_has_a_name_for_what_has_none() {
    let offences = rust_files().into_iter().map(|(name, _)| name).filter(|name| {
        Path::new(name).iter().any(|part| {
            let part = part.to_string_lossy();
            FORBIDDEN_NAMES.contains(&part.trim_end_matches(".rs"))
        })
    });
    assert_none("rooms are named after what is in them", offences.collect());
}

#[test]
fn functions_between_tensors_document_their_shapes() {
    let mut offences = Vec::new();
    for (name, text) in rust_files().iter().filter(|(name, _)| name.contains("/src/")) {
        let mut doc = String::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with("///") {
                doc.push_str(line);
            } else if ["forward", "losses", "detect", "segment"]
                .iter()
                .any(|verb| line.starts_with(&format!("pub fn {verb}(")))
            {
                if !doc.contains("# Shapes") {
                    offences.push(format!("{name}: {line}"));
                }
                doc.clear();
            } else if !line.starts_with("#[") {
                doc.clear();
            }
        }
    }
    assert_none("`forward`, `losses`, `detect` and `segment` have a section `# Shapes`", offences);
}

#[test]
fn what_a_user_writes_is_read_strictly() {
    let mut offences = Vec::new();
    for (name, text) in
        rust_files().iter().filter(|(name, _)| name.contains("/src/") && name.contains("/recipe"))
    {
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for (at, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains("Deserialize") && line.starts_with("#[derive"))
        {
            let attributes =
                lines[at..].iter().take_while(|line| !line.contains(" struct ") && !line.contains(" enum "));
            if !attributes.clone().any(|line| line.contains("deny_unknown_fields")) {
                offences.push(format!("{name}:{}: {line} without deny_unknown_fields", at + 1));
            }
        }
    }
    for (name, text) in rust_files() {
        if name.ends_with("tidy.rs") {
            continue;
        }
        for (at, line) in text.lines().enumerate().filter(|(_, line)| line.trim().starts_with("#[serde(")) {
            if ["flatten", "tag =", "untagged"].iter().any(|word| line.contains(word)) {
                offences.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    assert_none("recipes refuse what they do not know, and say on which line", offences);
}

#[test]
fn tests_and_examples_all_run() {
    let mut offences = Vec::new();
    for (name, text) in rust_files().iter().filter(|(name, _)| !name.ends_with("tidy.rs")) {
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            let indexed_dims =
                line.split(".dims()[").skip(1).any(|index| index.starts_with(|c: char| c.is_ascii_digit()));
            if line.starts_with("#[ignore")
                || line.contains("```rust,ignore")
                || line.contains("```ignore")
                || indexed_dims
            {
                offences.push(format!("{name}:{}: {line}", at + 1));
            }
        }
    }
    assert_none("nothing is ignored, and axes have names", offences);
}

#[test]
fn literal_tolerances_stand_in_one_table() {
    let offences = rust_files()
        .into_iter()
        .filter(|(name, _)| name.starts_with("tests/tests/") && !name.ends_with("tidy.rs"))
        .flat_map(|(name, text)| {
            let outside_strings = |line: &str| line.split('"').step_by(2).collect::<String>();
            let literal = |line: &str| {
                let code = outside_strings(line);
                code.match_indices("e-").any(|(at, _)| {
                    code[..at].ends_with(|c: char| c.is_ascii_digit())
                        && code[at + 2..].starts_with(|c: char| c.is_ascii_digit())
                })
            };
            let found: Vec<_> = text
                .lines()
                .enumerate()
                .filter(|(_, line)| line.contains("assert") && literal(line))
                .map(|(at, line)| format!("{name}:{}: {}", at + 1, line.trim()))
                .collect();
            found
        })
        .collect();
    assert_none("tolerances come from cvx_tests::tolerance", offences);
}

#[test]
fn every_path_in_the_readme_exists() {
    let root = project_root();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let words: BTreeSet<_> = readme
        .split(|c: char| c.is_whitespace() || "`()[]\"'|,;<>".contains(c))
        .map(|word| word.trim_end_matches(['.', ':']))
        .filter(|word| {
            let first = word.split('/').next().unwrap_or_default();
            TOP.contains(&first) && (word.contains('/') || word.contains('.')) && !word.contains('{')
        })
        .map(str::to_owned)
        .collect();
    assert!(!words.is_empty(), "README.md names no path");
    let offences = words.into_iter().filter(|word| !root.join(word).exists()).collect();
    assert_none("every path in README.md exists", offences);
}

#[test]
fn the_ci_runs_the_test_command_of_the_readme() {
    let root = project_root();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let ci = fs::read_to_string(root.join(".ci/run")).unwrap();
    for command in
        ["cargo test --workspace", "cargo run --release --bin cvx-det -- train configs/smoke/coco.toml"]
    {
        assert!(readme.contains(command), "README.md does not say `{command}`");
        assert!(ci.contains(command), ".ci/run does not run `{command}`");
    }
}
