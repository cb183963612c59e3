//! Finds in the text which files each file of the crate names: in `use` trees, in re-exports, and in paths that begin
//! with `crate`, `super`, `self` or a child module.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The text of each file by the file's module path, such as `http::lane`; the root of the crate has the empty path.
pub type Sources = BTreeMap<String, String>;

/// The files that each file names, each of them with one of the paths that name it.
pub type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// Returns every file of code below `src`. Files that contain only tests are left out.
pub fn sources(src: &Path) -> Sources {
    let mut paths = Vec::new();
    super::files(src, &mut paths);
    let mut sources = Sources::new();
    for path in paths {
        let relative = path.strip_prefix(src).unwrap().with_extension("");
        let parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap()).collect();
        if parts.contains(&"tests") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let module = parts.iter().copied().filter(|part| *part != "mod").collect::<Vec<_>>().join("::");
        match module.as_str() {
            "lib" => sources.insert(String::new(), text),
            // `main.rs` is not part of the library, so it names the crate as `nova`.
            "main" => sources.insert(module, text.replace("nova::", "crate::")),
            _ => sources.insert(module, text),
        };
    }
    sources
}

/// Returns a graph that maps each file to the files that it names.
pub fn graph(sources: &Sources) -> Graph {
    let mut graph = Graph::new();
    for (file, text) in sources {
        let children = children(sources, file);
        let edges = graph.entry(file.clone()).or_default();
        for path in paths(&code(text), &children) {
            let named = absolute(file, &path, &children).and_then(|absolute| holder(sources, &absolute));
            if let Some(named) = named.filter(|named| named != file) {
                edges.entry(named).or_insert(path);
            }
        }
    }
    graph
}

/// Returns every cycle of files: all edges between files that reach each other, with one line for each edge.
pub fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = graph.keys().map(|file| (&**file, reached(graph, file))).collect();
    let mutual = |one: &str, other: &str| reached[one].contains(other) && reached[other].contains(one);
    let mut circles = BTreeMap::<&str, Vec<String>>::new();
    for (file, edges) in graph {
        for (named, path) in edges.iter().filter(|(named, _)| mutual(file, named)) {
            // The first of the files that reach each other identifies the cycle.
            let first = reached[&**file].iter().find(|other| mutual(file, other)).unwrap();
            circles.entry(*first).or_default().push(format!("{file} names {named} by {path}"));
        }
    }
    circles.into_values().collect()
}

/// Returns the top-level module of a file: the directory or file directly below `src` to which the file belongs.
pub fn room(file: &str) -> &str {
    match file.split("::").next() {
        Some("") | None => "lib",
        Some(room) => room,
    }
}

fn reached<'g>(graph: &'g Graph, from: &str) -> BTreeSet<&'g str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        for named in graph.get(file).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(named.as_str()) {
                open.push(named);
            }
        }
    }
    reached
}

/// Returns the modules that are direct children of a file's module.
fn children<'s>(sources: &'s Sources, file: &str) -> BTreeSet<&'s str> {
    let below = |module: &'s String| match file {
        "" => Some(module.as_str()),
        file => module.strip_prefix(file)?.strip_prefix("::"),
    };
    sources.keys().filter_map(below).filter(|name| !name.is_empty() && !name.contains("::")).collect()
}

/// Returns the text without comments and without test modules. The text after a test module is kept.
pub fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let tests = |next: &&str| {
            let next = next.trim_start();
            next.starts_with("mod ") || next.starts_with("pub") && next.contains(" mod ")
        };
        if line.trim() == "#[cfg(test)]"
            && let Some(module) = lines.next_if(tests)
        {
            if module.ends_with('{') {
                let end = format!("{}}}", &module[..module.len() - module.trim_start().len()]);
                for line in lines.by_ref() {
                    if line == end {
                        break;
                    }
                }
            }
            continue;
        }
        // Two slashes after a colon belong to a URL, and begin no comment.
        let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
        kept.push_str(comment.map_or(line, |(at, _)| &line[..at]));
        kept.push('\n');
    }
    kept
}

/// Returns every path in the code that may name a file.
fn paths(code: &str, children: &BTreeSet<&str>) -> Vec<String> {
    let (mut paths, mut rest) = (Vec::new(), String::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some(tree) = use_tree(line) else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut tree = tree.to_owned();
        while !tree.contains(';') {
            let Some(line) = lines.next() else { break };
            tree.push_str(line.trim());
        }
        expand("", tree.split(';').next().unwrap_or_default(), &mut paths);
    }
    let starts = rest.char_indices().filter(|(at, first)| {
        let before = &rest[..*at];
        let begins = first.is_ascii_alphabetic() || *first == '_';
        // The path in a visibility `pub(in path)` does not count, because the file needs nothing from that path.
        begins && !before.ends_with(|c: char| is_word(c) || c == ':') && !before.ends_with("pub(in ")
    });
    for (at, _) in starts {
        let end = rest[at..].find(|c: char| !is_word(c) && c != ':').map_or(rest.len(), |length| at + length);
        let path = rest[at..end].trim_end_matches(':');
        let first = path.split("::").next().unwrap_or_default();
        if path.contains("::") && (["crate", "super", "self"].contains(&first) || children.contains(first)) {
            paths.push(path.to_owned());
        }
    }
    paths
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns the `use` tree that begins on a line, if the line begins one.
fn use_tree(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let item = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => line,
    };
    item.strip_prefix("use ")
}

/// Collects the paths of a `use` tree. `a::{b, c::{self, d as e}}` gives `a::b`, `a::c::self` and `a::c::d`.
fn expand(before: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((path, branches)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or_default().trim();
        if !name.is_empty() {
            paths.push(format!("{before}{name}"));
        }
        return;
    };
    let before = format!("{before}{}", path.trim());
    let branches = branches.trim_end().strip_suffix('}').unwrap_or(branches);
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in branches.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&before, &branches[begin..at], paths);
                begin = at + 1;
            }
            _ => {}
        }
    }
    expand(&before, &branches[begin..], paths);
}

/// Returns a path from the root of the crate, or `None` for a path that belongs to a foreign crate.
fn absolute(file: &str, path: &str, children: &BTreeSet<&str>) -> Option<String> {
    let mut parts: Vec<_> = path.split("::").collect();
    let mut base: Vec<_> = file.split("::").filter(|part| !part.is_empty()).collect();
    let first = parts[0];
    match first {
        "crate" => base.clear(),
        "super" | "self" => {
            let up = parts.iter().take_while(|part| **part == "super").count();
            base.truncate(base.len().saturating_sub(up));
            parts.drain(..up.max(1) - 1);
        }
        child if children.contains(child) => parts.insert(0, "self"),
        _ => return None,
    }
    base.extend(parts.into_iter().skip(1).filter(|part| *part != "self"));
    Some(base.join("::"))
}

/// Returns the file that defines an item: its module path is the longest prefix of the item's path that belongs to a
/// file.
fn holder(sources: &Sources, path: &str) -> Option<String> {
    let mut path = path;
    loop {
        if sources.contains_key(path) {
            return Some(path.to_owned());
        }
        path = path.rsplit_once("::").map_or("", |(above, _)| above);
        if path.is_empty() {
            // Macros and the public items of the crate are in the root of the crate.
            return sources.contains_key("").then(String::new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Graph {
        graph(&files.iter().map(|(module, text)| ((*module).to_owned(), (*text).to_owned())).collect())
    }

    fn named<'g>(graph: &'g Graph, file: &str) -> Vec<&'g str> {
        graph[file].keys().map(String::as_str).collect()
    }

    #[test]
    fn every_way_to_name_a_file_is_an_edge() {
        let graph = tree(&[
            ("", "mod house;\nmod shed;\nmod road;\nmod well;"),
            (
                "house",
                "mod door;\npub(crate) mod stairs;\n\npub use self::door::Door;\nuse crate::{\n    road::{self, Lane as Way},\n    \
                 well,\n};\n\nfn f() {\n    stairs::climb();\n}\n",
            ),
            ("house::door", "use super::super::shed::Tool;\nuse std::road;\n"),
            ("house::stairs", "fn climb() {\n    let water = crate::well::draw(super::door::Door);\n}\n"),
            ("road", "// See crate::shed and https://house.example.\npub(in crate::house) struct Lane;\n"),
            ("shed", "use serde::Serialize;\n"),
            ("well", "pub use super::road::Lane;"),
        ]);
        assert_eq!(named(&graph, "house"), ["house::door", "house::stairs", "road", "well"]);
        assert_eq!(named(&graph, "house::door"), ["shed"]);
        assert_eq!(named(&graph, "house::stairs"), ["house::door", "well"]);
        assert_eq!(named(&graph, "road"), Vec::<&str>::new());
        assert_eq!(named(&graph, "shed"), Vec::<&str>::new());
        assert_eq!(named(&graph, "well"), ["road"]);
        assert_eq!(circles(&graph), Vec::<Vec<String>>::new());
        assert_eq!((room("house::door"), room("")), ("house", "lib"));
    }

    #[test]
    fn what_stands_behind_a_module_of_tests_is_read_and_the_module_is_not() {
        let text = "#[cfg(test)]\nmod tests;\n\n#[cfg(test)]\nmod more {\n    use crate::shed::Tool;\n    fn f() {\n    }\n}\n\n\
                    #[cfg(test)]\nfn g() {}\n\nuse crate::well::Water;\n";
        let graph = tree(&[("house", text), ("shed", ""), ("well", "")]);
        assert_eq!(named(&graph, "house"), ["well"]);
    }

    #[test]
    fn circles_are_found_with_their_edges_and_nothing_else() {
        let graph = tree(&[
            ("house", "use self::door::Door;\nuse crate::road::Lane;"),
            ("house::door", "fn open() -> super::House {}"),
            ("road", "use crate::shed::Tool;"),
            ("shed", "use crate::well::Water;"),
            ("well", "use crate::road;"),
        ]);
        let told: Vec<_> = circles(&graph);
        assert_eq!(
            told,
            [
                vec!["house names house::door by self::door::Door", "house::door names house by super::House"],
                vec![
                    "road names shed by crate::shed::Tool",
                    "shed names well by crate::well::Water",
                    "well names road by crate::road",
                ],
            ]
        );
    }
}
