//! Style as a test: reads the tree as people do and fails where it leaves the house rules. What a module may
//! import and who may use which library stands in `host/ARCHITECTURE.md`, in tables that this test reads; an
//! exception to a size limit stands in [`RATCHET`] with its reason, and goes when it is no longer needed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
/// For what rustfmt leaves alone: comments, strings, macros. It breaks all other code at 100.
const COLUMNS_MAX: usize = 124;

/// Where Rust lives, from the root of the repository.
const FOLDERS: [&str; 4] = ["host", "guest-sdk", "examples", "tests"];

/// What may be larger than its limit: `path` or `path::function`, how many lines, why. A number may only
/// fall; an entry that is back within the limit must go.
const RATCHET: [(&str, usize, &str); 0] = [];

/// Files nobody writes by hand, or that are wrong on purpose: only their header is checked.
const GENERATED: [&str; 1] = ["guest-sdk/src/bindings.rs"];

#[test]
fn the_tree_is_tidy() {
    let root = root();
    let architecture = std::fs::read_to_string(root.join("host/ARCHITECTURE.md"))
        .expect("host/ARCHITECTURE.md holds the tables this test reads");
    let map = Map::read(&architecture).expect("the tables of host/ARCHITECTURE.md");
    let mut complaints = Vec::new();
    let mut used = BTreeSet::new();
    let files = rust_files(&root);
    assert!(files.len() > 20, "found {} Rust files under {}", files.len(), root.display());
    for path in files {
        let source = std::fs::read_to_string(root.join(&path)).expect("a Rust file is UTF-8");
        let file = File::read(&path, &source);
        complaints.extend(file.complaints(&map, &mut used));
    }
    for (name, _, reason) in RATCHET {
        if !used.contains(name) {
            complaints.push(format!(
                "{name} is within its limit again; take it off the ratchet ({reason})"
            ));
        }
    }
    assert!(complaints.is_empty(), "{}\n", complaints.join("\n"));
}

#[test]
fn the_map_names_only_modules_that_exist() {
    let root = root();
    let text = std::fs::read_to_string(root.join("host/ARCHITECTURE.md")).expect("readable");
    let map = Map::read(&text).expect("the tables of host/ARCHITECTURE.md");
    for module in map.modules.keys() {
        let path = root.join("host/src").join(module);
        let exists = path.is_dir() || path.with_extension("rs").is_file();
        assert!(exists, "ARCHITECTURE.md has a row for `{module}`, but there is no such module");
    }
}

fn root() -> PathBuf {
    let host = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    host.parent().expect("host is a folder of the repository").to_path_buf()
}

/// All Rust files of the repository, as paths from its root, in order.
fn rust_files(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries {
            let entry = entry.expect("readable folder");
            let path = folder.join(entry.file_name());
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_folder = entry.file_type().expect("file type").is_dir();
            if is_folder && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                files.push(path.to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    files
}

/// The tables of ARCHITECTURE.md.
struct Map {
    /// Each module with its level and what it may import.
    modules: BTreeMap<String, (u32, BTreeSet<String>)>,
    /// Libraries that only some modules may use.
    libraries: BTreeMap<String, BTreeSet<String>>,
}

impl Map {
    fn read(text: &str) -> Result<Self, String> {
        let mut modules = BTreeMap::new();
        for row in table(text, "| level | module | may import | job |")? {
            let [level, names, imports, _job] = row.as_slice() else {
                return Err(format!("a row of the import table has {} cells", row.len()));
            };
            let level = level.parse().map_err(|_| format!("{level:?} is not a level"))?;
            for name in ticked(names) {
                modules.insert(name, (level, ticked(imports).into_iter().collect()));
            }
        }
        for (module, (level, imports)) in &modules {
            for import in imports {
                match modules.get(import) {
                    None => return Err(format!("{module} may import {import}, which has no row")),
                    Some((lower, _)) if lower >= level => {
                        return Err(format!(
                            "{module} (level {level}) may import {import} (level {lower}): imports point down"
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        let mut libraries = BTreeMap::new();
        for row in table(text, "| library | only in |")? {
            let [names, places] = row.as_slice() else {
                return Err(format!("a row of the library table has {} cells", row.len()));
            };
            for name in ticked(names) {
                libraries.insert(name, ticked(places).into_iter().collect());
            }
        }
        Ok(Self { modules, libraries })
    }

    /// The row that a path of module names belongs to: the longest one that is a prefix of it.
    fn row(&self, path: &[String]) -> Option<&str> {
        (1..=path.len())
            .rev()
            .map(|n| path[..n].join("/"))
            .find_map(|name| self.modules.get_key_value(&name).map(|(key, _)| key.as_str()))
    }
}

/// The rows under the table head `head`, each one as its trimmed cells.
fn table(text: &str, head: &str) -> Result<Vec<Vec<String>>, String> {
    let mut lines = text.lines().skip_while(|line| line.trim() != head);
    lines.next().ok_or_else(|| format!("no table with the head {head}"))?;
    let rows: Vec<Vec<String>> = lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim().trim_matches('|').split('|').map(|c| c.trim().into()).collect())
        .collect();
    if rows.is_empty() { Err(format!("no rows under {head}")) } else { Ok(rows) }
}

/// The words in backticks.
fn ticked(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(Into::into).collect()
}

/// One file as tokens and lines.
struct File<'a> {
    path: &'a str,
    source: &'a str,
    tokens: TokenStream,
}

impl<'a> File<'a> {
    fn read(path: &'a str, source: &'a str) -> Self {
        let tokens = TokenStream::from_str(source)
            .unwrap_or_else(|error| panic!("{path} is not made of Rust tokens: {error}"));
        Self { path, source, tokens }
    }

    fn complaints(&self, map: &Map, used: &mut BTreeSet<&'static str>) -> Vec<String> {
        let mut found = Vec::new();
        if !self.source.starts_with("//!") {
            found.push(format!("{}: opens without a `//!` header that says what it is", self.path));
        }
        if GENERATED.contains(&self.path) {
            return found;
        }
        self.check_sizes(used, &mut found);
        self.check_columns(&mut found);
        for (line, word) in banned(self.tokens.clone(), self.path.starts_with("tests/")) {
            found.push(format!("{}:{line}: `{word}` may not stay in the tree", self.path));
        }
        self.check_arrows(map, &mut found);
        found
    }

    fn check_sizes(&self, used: &mut BTreeSet<&'static str>, found: &mut Vec<String>) {
        let mut check = |name: String, lines: usize, lines_max: usize| {
            if lines <= lines_max {
                return;
            }
            match RATCHET.iter().find(|(ratcheted, _, _)| *ratcheted == name) {
                Some((name, allowed, _)) if lines <= *allowed => {
                    used.insert(name);
                }
                _ => found.push(format!("{name} has {lines} lines; {lines_max} is the limit")),
            }
        };
        check(self.path.to_owned(), self.source.lines().count(), FILE_LINES_MAX);
        for (name, lines) in functions(self.tokens.clone()) {
            check(format!("{}::{name}", self.path), lines, FUNCTION_LINES_MAX);
        }
    }

    fn check_columns(&self, found: &mut Vec<String>) {
        for (index, line) in self.source.lines().enumerate() {
            let columns = line.chars().count();
            let text = line.trim_start();
            let is_literal = text.starts_with('"') || text.starts_with("r#");
            if columns > COLUMNS_MAX && !is_literal && !line.contains("://") {
                let number = index + 1;
                let path = self.path;
                found.push(format!(
                    "{path}:{number}: {columns} columns; {COLUMNS_MAX} is the limit"
                ));
            }
        }
    }

    /// Imports of the host against the map.
    fn check_arrows(&self, map: &Map, found: &mut Vec<String>) {
        let Some(module) = host_module(self.path) else { return };
        let Some(row) = map.row(&module) else {
            found.push(format!("{}: has no row in the table of ARCHITECTURE.md", self.path));
            return;
        };
        let allowed = &map.modules[row].1;
        for (line, target) in arrows(self.tokens.clone(), &module) {
            let to = map.row(&target);
            if to != Some(row) && !to.is_some_and(|to| allowed.contains(to)) {
                let target = target.join("::");
                found.push(format!(
                    "{}:{line}: `{row}` may not import `{target}`; \
                     the table of ARCHITECTURE.md has no such arrow",
                    self.path
                ));
            }
        }
        for (line, library) in libraries(self.tokens.clone()) {
            let Some(places) = map.libraries.get(&library) else { continue };
            let at_home = (1..=module.len()).any(|n| places.contains(&module[..n].join("/")));
            if !at_home {
                found.push(format!(
                    "{}:{line}: `{library}` is for {places:?} only (table of ARCHITECTURE.md)",
                    self.path
                ));
            }
        }
    }
}

/// The module path of a file of the host's library, as names; none for other files and for `lib.rs`, which
/// only lists the modules.
fn host_module(path: &str) -> Option<Vec<String>> {
    let inside = path.strip_prefix("host/src/")?.strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    (inside != "lib").then(|| inside.split('/').map(Into::into).collect())
}

/// Every path to another module, from the crate's root, with its line: `crate::a::b`,
/// `use crate::{a, b::c}`, `keystead::a`, and `super::a` where it climbs out of the file, which is `module`.
fn arrows(tokens: TokenStream, module: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    visit(tokens, 0, &mut |trees, modules| {
        for (at, tree) in trees.iter().enumerate() {
            let TokenTree::Ident(ident) = tree else { continue };
            let line = ident.span().start().line;
            let starts = at == 0 || !is_colon(&trees[at - 1]);
            match ident.to_string().as_str() {
                name @ ("crate" | "keystead") if starts && is_path_separator(trees, at + 1) => {
                    // The library's name is the binary's word for `crate`.
                    if name == "keystead" && module != ["main"] {
                        continue;
                    }
                    let mut paths = Vec::new();
                    follow(trees, at + 3, &[], &mut paths);
                    found.extend(paths.into_iter().map(|path| (line, path)));
                }
                "super" if starts => {
                    let mut next = at;
                    let mut climbs = 0;
                    while is_ident(trees.get(next), "super") && is_path_separator(trees, next + 1) {
                        climbs += 1;
                        next += 3;
                    }
                    if climbs > modules {
                        let above = module.len().saturating_sub(climbs - modules);
                        let mut paths = Vec::new();
                        follow(trees, next, &module[..above], &mut paths);
                        found.extend(paths.into_iter().map(|path| (line, path)));
                    }
                }
                _ => {}
            }
        }
    });
    found
}

/// Collects the paths of a use tree that starts at `at`.
fn follow(trees: &[TokenTree], at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) {
    match trees.get(at) {
        Some(TokenTree::Ident(ident)) => {
            let mut path = prefix.to_vec();
            path.push(ident.to_string());
            if is_path_separator(trees, at + 1) {
                follow(trees, at + 3, &path, paths);
            } else {
                paths.push(path);
            }
        }
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            let alternatives = inner.split(|tree| is_punct(tree, ','));
            for alternative in alternatives.filter(|trees| !trees.is_empty()) {
                follow(alternative, 0, prefix, paths);
            }
        }
        Some(star) if is_punct(star, '*') && prefix.is_empty() => paths.push(vec!["*".into()]),
        _ => paths.push(prefix.to_vec()),
    }
}

/// Names that open a path of their own, with their lines: what may be a library.
fn libraries(tokens: TokenStream) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    visit(tokens, 0, &mut |trees, _| {
        for (at, tree) in trees.iter().enumerate() {
            let TokenTree::Ident(ident) = tree else { continue };
            let starts = at == 0 || !is_colon(&trees[at - 1]);
            if starts && is_path_separator(trees, at + 1) {
                found.push((ident.span().start().line, ident.to_string()));
            }
        }
    });
    found
}

/// Words that may not stay, with their lines.
fn banned(tokens: TokenStream, in_tests: bool) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    visit(tokens, 0, &mut |trees, _| {
        for (at, tree) in trees.iter().enumerate() {
            let line = tree.span().start().line;
            let is_macro = trees.get(at + 1).is_some_and(|next| is_punct(next, '!'));
            match tree {
                TokenTree::Ident(ident) if is_macro => {
                    let name = ident.to_string();
                    if ["todo", "unimplemented", "dbg"].contains(&name.as_str()) {
                        found.push((line, format!("{name}!")));
                    }
                }
                TokenTree::Ident(ident)
                    if in_tests
                        && ident == "thread"
                        && is_path_separator(trees, at + 1)
                        && is_ident(trees.get(at + 3), "sleep") =>
                {
                    found.push((line, "thread::sleep".into()));
                }
                TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
                    let after_hash = at > 0 && is_punct(&trees[at - 1], '#');
                    let first = group.stream().into_iter().next();
                    if after_hash && is_ident(first.as_ref(), "ignore") {
                        found.push((line, "#[ignore]".into()));
                    }
                }
                _ => {}
            }
        }
    });
    found
}

/// Functions with a body, and how many lines they take from `fn` to the closing brace.
fn functions(tokens: TokenStream) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    visit(tokens, 0, &mut |trees, _| {
        for (at, tree) in trees.iter().enumerate() {
            let Some(TokenTree::Ident(name)) = trees.get(at + 1) else { continue };
            if !is_ident(Some(tree), "fn") {
                continue;
            }
            let body = trees[at..].iter().find_map(|tree| match tree {
                TokenTree::Group(g) if g.delimiter() == Delimiter::Brace => Some(Some(g)),
                TokenTree::Punct(p) if p.as_char() == ';' => Some(None),
                _ => None,
            });
            if let Some(Some(body)) = body {
                let lines = body.span_close().end().line - tree.span().start().line + 1;
                found.push((name.to_string(), lines));
            }
        }
    });
    found
}

/// Shows every token sequence to `look`, from the outside in, with the number of `mod … { }` around it.
fn visit(tokens: TokenStream, modules: usize, look: &mut impl FnMut(&[TokenTree], usize)) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    look(&trees, modules);
    for (at, tree) in trees.iter().enumerate() {
        if let TokenTree::Group(group) = tree {
            let is_module = at >= 2 && is_ident(Some(&trees[at - 2]), "mod");
            visit(group.stream(), modules + usize::from(is_module), look);
        }
    }
}

fn is_ident(tree: Option<&TokenTree>, name: &str) -> bool {
    matches!(tree, Some(TokenTree::Ident(ident)) if ident == name)
}

fn is_punct(tree: &TokenTree, sign: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_colon(tree: &TokenTree) -> bool {
    is_punct(tree, ':')
}

fn is_path_separator(trees: &[TokenTree], at: usize) -> bool {
    trees.get(at).is_some_and(is_colon) && trees.get(at + 1).is_some_and(is_colon)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE_MAP: &str = "
| level | module | may import | job |
| --- | --- | --- | --- |
| 0 | `limits` `clock` | | bounds, time |
| 1 | `engine` | `limits` `clock` | runs guests |
| 2 | `partition/request` | `engine` | plain data |
| 3 | `partition` | `engine` `limits` `partition/request` | the heart |

| library | only in |
| --- | --- |
| `redb` | `partition/store` |
";

    fn complaints(path: &str, source: &str) -> Vec<String> {
        let map = Map::read(SAMPLE_MAP).expect("a good map");
        File::read(path, source).complaints(&map, &mut BTreeSet::new())
    }

    fn check(path: &str, source: &str, expected: &[&str]) {
        let found = complaints(path, source);
        assert_eq!(found.len(), expected.len(), "for\n{source}\nfound {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "found {found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn a_good_file_has_no_complaints() {
        check(
            "host/src/partition/view.rs",
            "//! A view.\nuse crate::{engine::Engine, limits};\nuse super::request::Send;\n\
             // crate::router is only named here, and \"crate::cli\" there\n\
             fn f() { crate::limits::x(); let s = \"crate::router::Router todo!()\"; }\n",
            &[],
        );
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_found_however_it_is_written() {
        let expected = &["`engine` may not import `partition::View`"];
        check("host/src/engine/run.rs", "//! R.\nuse crate::partition::View;", expected);
        check("host/src/engine/run.rs", "//! R.\nuse crate::{limits, partition::View};", expected);
        check("host/src/engine/run.rs", "//! R.\nfn f() { crate::partition::View() }", expected);
        check("host/src/engine/run.rs", "//! R.\nuse super::super::partition::View;", expected);
        check("host/src/engine.rs", "//! R.\nuse super::{limits, partition::View};", expected);
        let nested = "//! R.\nmod tests { use super::super::partition::View; use super::Run; }";
        check("host/src/engine.rs", nested, expected);
    }

    #[test]
    fn a_row_of_its_own_divides_a_module() {
        let upward = "//! R.\nuse crate::partition::View;";
        check("host/src/partition/request.rs", upward, &["`partition/request` may not import"]);
        let upward = "//! R.\nuse super::View;";
        check("host/src/partition/request.rs", upward, &["`partition/request` may not import"]);
        let downward = "//! R.\nuse crate::partition::request::Send;";
        check("host/src/partition/mailbox.rs", downward, &[]);
        check("host/src/engine/mod.rs", downward, &["may not import `partition::request::Send`"]);
    }

    #[test]
    fn unknown_modules_and_globs_are_found() {
        check("host/src/limits.rs", "//! L.\nuse keystead::entity::types;", &[]);
        check("host/src/mystery.rs", "//! M.", &["has no row"]);
        check("host/src/engine.rs", "//! E.\nuse crate::mystery::X;", &["`mystery::X`"]);
        check("host/src/engine.rs", "//! E.\nuse crate::*;", &["may not import `*`"]);
    }

    #[test]
    fn a_library_stays_where_the_table_says() {
        let source = "//! S.\nuse redb::Database;";
        check("host/src/partition/store.rs", source, &[]);
        check("host/src/partition/store/table.rs", source, &[]);
        check("host/src/partition/mailbox.rs", source, &["`redb` is for"]);
        check("host/src/engine.rs", "//! E.\nfn f() -> redb::Result { g() }", &["`redb` is for"]);
    }

    #[test]
    fn the_table_itself_points_down() {
        let upward = SAMPLE_MAP.replace("`limits` `clock` | runs", "`partition` | runs");
        assert!(Map::read(&upward).err().expect("upward").contains("imports point down"));
        let unknown = SAMPLE_MAP.replace("`limits` `clock` | runs", "`nobody` | runs");
        assert!(Map::read(&unknown).err().expect("unknown").contains("has no row"));
    }

    #[test]
    fn sizes_and_headers_are_checked() {
        check("examples/a.rs", "fn f() {}\n", &["opens without a `//!` header"]);
        let long = format!("//! Long.\n{}", "// line\n".repeat(FILE_LINES_MAX));
        check("examples/a.rs", &long, &["examples/a.rs has 601 lines"]);
        let long = format!("//! L.\nimpl A {{ fn f() {{\n{}}} }}", "g();\n".repeat(70));
        check("examples/a.rs", &long, &["examples/a.rs::f has 72 lines"]);
        let fits = format!("//! L.\nimpl A {{ fn f() {{\n{}}} }}", "g();\n".repeat(68));
        check("examples/a.rs", &fits, &[]);
        let wide = format!("//! W.\n// {}", "f".repeat(COLUMNS_MAX - 2));
        check("examples/a.rs", &wide, &["examples/a.rs:2: 125 columns"]);
        check("examples/a.rs", &wide.replace("// f", "//f"), &[]);
    }

    #[test]
    fn banned_words_are_found_as_code_only() {
        check("host/src/engine.rs", "//! E.\nfn f() { todo!() }", &["`todo!`"]);
        check("host/src/engine.rs", "//! E.\n// todo!()\nfn f() { g(\"dbg!(x)\") }", &[]);
        check("tests/a.rs", "//! T.\n#[ignore = \"slow\"]\nfn f() {}", &["`#[ignore]`"]);
        check("tests/a.rs", "//! T.\nfn f() { std::thread::sleep(d) }", &["`thread::sleep`"]);
    }
}
