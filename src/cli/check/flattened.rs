//! Checks the flattening transform (ExtractNewRecordState) of a connector.

use super::finding::Finding;
use super::setting::{Config, set, value};

/// The member names under which `decode` finds a row's LSN.
const LSN_FIELDS: [&str; 2] = ["__lsn", "__source_lsn"];
const FIELDS: &str = "op,lsn,source.ts_us";
const PREFIX: &str = "__";

/// The member names that `add.fields` makes. Each element of `add.fields` is `[struct.]field[:name]`, and each member
/// name begins with the prefix.
fn names(fields: &str, prefix: &str) -> Vec<String> {
    let name = |field: &str| {
        let (path, renamed) = field.split_once(':').unwrap_or((field, ""));
        let name = if renamed.is_empty() { path.replace('.', "_") } else { renamed.to_owned() };
        format!("{prefix}{name}")
    };
    fields.split(',').map(str::trim).filter(|field| !field.is_empty()).map(name).collect()
}

fn has_lsn(names: &[String]) -> bool {
    names.iter().any(|name| LSN_FIELDS.contains(&name.as_str()))
}

pub(super) fn findings(config: &Config, found: &mut Vec<Finding>) {
    for name in value(config, "transforms").split(',').map(str::trim) {
        let own = |key: &str| config.get(&format!("transforms.{name}.{key}")).map(String::as_str);
        if own("type").is_some_and(|kind| kind.ends_with("ExtractNewRecordState")) {
            lsn(name, &own, found);
            if own("replace.null.with.default") != Some("false") {
                let key = format!("transforms.{name}.replace.null.with.default");
                let reason = "a NULL in a column with a default would arrive as the default";
                found.push(set("null-default", config, &key, "false", reason));
            }
            if own("delete.tombstone.handling.mode") == Some("drop") || own("delete.handling.mode") == Some("drop") {
                let key = format!("transforms.{name}.delete.tombstone.handling.mode");
                found.push(set("deletes-dropped", config, &key, "rewrite", "deletes would never arrive"));
            }
        }
    }
}

/// Checks that records have an LSN that `decode` finds. Without an LSN, only the offset of a record shows which of two
/// rows is newer.
fn lsn<'a>(name: &str, own: &impl Fn(&str) -> Option<&'a str>, found: &mut Vec<Finding>) {
    let (fields, prefix) = (own("add.fields").unwrap_or_default(), own("add.fields.prefix").unwrap_or(PREFIX));
    if has_lsn(&names(fields, prefix)) {
        return;
    }
    let loss = "redelivered rows could win over later ones";
    let plain = fields.split(',').map(|field| field.split(':').next().unwrap_or_default().trim());
    let (detail, remedy) = if plain.clone().any(|field| field == "lsn" || field == "source.lsn") {
        let given = names(fields, prefix).join(", ");
        let detail = format!(
            "transforms.{name}: add.fields and add.fields.prefix {prefix:?} give the fields {given}; nova reads {}: {loss}",
            LSN_FIELDS.join(" or ")
        );
        (
            detail,
            format!("remove transforms.{name}.add.fields.prefix, and set transforms.{name}.add.fields to {FIELDS}"),
        )
    } else if own("add.headers").is_some_and(|headers| headers.contains("lsn")) {
        let detail =
            format!("transforms.{name}.add.headers has lsn and add.fields has not; nova reads the fields: {loss}");
        (detail, format!("set transforms.{name}.add.fields to {FIELDS} as well"))
    } else {
        let detail = format!("transforms.{name}.add.fields has no lsn: {loss}");
        (detail, format!("set transforms.{name}.add.fields to {FIELDS}"))
    };
    found.push(Finding::new("unwrap-without-lsn", detail, remedy));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lsn_is_found_under_the_names_that_decode_reads() {
        let of = |settings: &[(&str, &str)]| -> Option<String> {
            let mut found = Vec::new();
            let get = |key: &str| settings.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
            lsn("unwrap", &get, &mut found);
            found.pop().map(|found| found.detail)
        };
        for fields in [FIELDS, "op, lsn", "source.lsn", "source.lsn:lsn", "lsn:source_lsn"] {
            assert_eq!(of(&[("add.fields", fields)]), None, "{fields}");
        }
        assert_eq!(of(&[("add.fields", "lsn"), ("add.fields.prefix", "__")]), None);
        // The empty prefix and the new name `__lsn` together make a name that nova finds.
        assert_eq!(of(&[("add.fields", "lsn:__lsn"), ("add.fields.prefix", "")]), None);
        for (settings, part) in [
            (&[("add.fields", "op,lsn"), ("add.fields.prefix", "_dbz_")][..], "_dbz_op, _dbz_lsn"),
            (&[("add.fields", "op,lsn"), ("add.fields.prefix", "")], "the fields op, lsn"),
            (&[("add.fields", "op:OP,lsn:LSN")], "__OP, __LSN"),
            (&[("add.headers", "op,lsn")], "add.headers has lsn"),
            (&[("add.fields", "op,source.ts_us")], "has no lsn"),
            (&[], "has no lsn"),
        ] {
            let detail = of(settings).unwrap();
            assert!(detail.contains(part), "{part} is not in {detail}");
        }
    }
}
