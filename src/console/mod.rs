//! The console: the files for the browser, and the last ten minutes of the plotted gauges. The console does not depend
//! on the node; `http/console` serves the console's files.

pub mod history;
pub mod patch;

/// A file of the console that is embedded in the program.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// The file's path within the directory of the assets. The scripts of the console import each other by this path.
    pub name: &'static str,
    /// The media type of the asset.
    pub kind: &'static str,
    pub text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! asset {
    ($name:literal, $kind:ident) => {
        Asset { name: $name, kind: $kind, text: include_str!(concat!("assets/", $name)) }
    };
}

/// The HTML page that nova returns for every address of the console. `{assets}` in the page stands for the path of the
/// console's files.
pub const PAGE: &str = include_str!("assets/index.html");

/// The files that the console's page needs before it shows anything.
pub const FIRST: [&str; 9] = [
    "app.js",
    "api.js",
    "live.js",
    "overview.js",
    "parts.js",
    "plot.js",
    "style.css",
    "vendor/lit-html.js",
    "icon.svg",
];

/// Every file of the console except its page.
pub const ASSETS: [Asset; 20] = [
    asset!("app.js", SCRIPT),
    asset!("api.js", SCRIPT),
    asset!("live.js", SCRIPT),
    asset!("parts.js", SCRIPT),
    asset!("plot.js", SCRIPT),
    asset!("overview.js", SCRIPT),
    asset!("failed.js", SCRIPT),
    asset!("people.js", SCRIPT),
    asset!("posts.js", SCRIPT),
    asset!("trending.js", SCRIPT),
    asset!("tap.js", SCRIPT),
    asset!("source.js", SCRIPT),
    asset!("system.js", SCRIPT),
    asset!("search.js", SCRIPT),
    asset!("playground.js", SCRIPT),
    asset!("style.css", STYLE),
    asset!("icon.svg", IMAGE),
    asset!("vendor/lit-html.js", SCRIPT),
    asset!("vendor/uplot.js", SCRIPT),
    asset!("vendor/uplot.css", STYLE),
];

/// The first segments of the paths for which the console shows a view. The script of the page handles the rest of the
/// path.
pub const PAGES: [&str; 9] = ["", "failed", "user", "post", "trending", "live", "source", "system", "api"];

/// Returns one fingerprint of all the console's files. A change of any file changes the fingerprint, so a browser may
/// cache each file for ever.
pub fn fingerprint() -> String {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for asset in &ASSETS {
        hash.update(asset.name.as_bytes());
        hash.update(asset.text.as_bytes());
    }
    format!("{:016x}", hash.digest())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn sent(text: &str) -> usize {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap().len()
    }

    #[test]
    fn the_first_screen_is_less_than_80_kilobytes_on_the_wire() {
        const MOST: usize = 80_000;
        let file = |name: &&str| sent(ASSETS.iter().find(|asset| asset.name == *name).unwrap().text);
        // The first screen also loads the library for plots.
        let plots = ["vendor/uplot.js", "vendor/uplot.css"];
        let total = sent(PAGE) + FIRST.iter().chain(&plots).map(file).sum::<usize>();
        assert!(total < MOST, "{total} bytes");
    }

    #[test]
    fn modules_import_only_files_of_the_table_and_the_first_ones_only_first_ones() {
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT && !asset.name.starts_with("vendor/")) {
            for line in asset.text.lines().filter(|line| line.starts_with("import ")) {
                let name = line.split('\'').nth(1).unwrap().strip_prefix("./").unwrap();
                assert!(ASSETS.iter().any(|other| other.name == name), "{}: {line}", asset.name);
                assert!(!FIRST.contains(&asset.name) || FIRST.contains(&name), "{}: {line}", asset.name);
            }
        }
    }

    #[test]
    fn what_is_vendored_is_what_its_list_says() {
        use sha2::Digest as _;
        let list = include_str!("assets/vendor/VENDOR");
        for asset in ASSETS.iter().filter(|asset| asset.name.starts_with("vendor/")) {
            let hash = nova_storage::seal::hex(&sha2::Sha256::digest(asset.text));
            let file = asset.name.strip_prefix("vendor/").unwrap();
            assert!(list.lines().any(|line| line.contains(file) && line.contains(&hash)), "{file} {hash}");
        }
    }

    #[test]
    fn nothing_of_the_console_writes_html_or_reaches_beyond_its_host() {
        let own = |asset: &&Asset| !asset.name.starts_with("vendor/");
        for Asset { name, text, .. } in ASSETS.iter().filter(own) {
            for wrong in
                ["innerHTML", "outerHTML", "insertAdjacent", "unsafeHTML", "document.write", "eval(", " style="]
            {
                assert!(!text.contains(wrong), "{name}: {wrong}");
            }
            let outside = text.matches("http://").count() + text.matches("https://").count();
            let of_svg = text.matches("http://www.w3.org/").count();
            assert_eq!(outside, of_svg, "{name} names another host");
        }
        for wrong in ["<style", " style=", "onload=", "onclick="] {
            assert!(!PAGE.contains(wrong), "the page has {wrong}");
        }
    }
}
