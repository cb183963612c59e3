use super::TABLE;
use super::row::{Does, Keys, NAME_MAX_BYTES, float};
use crate::redis_port::group::{GROUPS, Group};

#[test]
fn each_command_is_found_by_its_name_in_whatever_case() {
    let mut names: Vec<_> = TABLE.rows.iter().map(|spec| spec.name).collect();
    for spec in TABLE.rows.iter() {
        assert_eq!(spec.name, spec.name.to_ascii_lowercase());
        let upper = spec.name.to_ascii_uppercase();
        assert_eq!(TABLE.find(upper.as_bytes()).map(|found| found.name), Some(spec.name));
        // A command with keys must have an argument for a key, and only commands that read may work on nova's own keys.
        assert!(spec.keys == Keys::None || spec.arity.unsigned_abs() >= 2, "{}", spec.name);
        assert!(!spec.own || spec.does == Does::Read, "{}", spec.name);
        assert!(spec.keys != Keys::None || spec.does == Does::Other, "{}", spec.name);
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.rows.len());
    assert!(
        TABLE.find(b"nosuch").is_none()
            && TABLE.find(&[b'x'; NAME_MAX_BYTES + 1]).is_none()
            && TABLE.find(b"").is_none()
    );
    assert_eq!(GROUPS, Group::Server as usize + 2, "one is for names of no command");
}

#[test]
fn scores_are_read_as_redis_reads_them() {
    for (text, score) in [
        ("1", Some(1.0)),
        ("-2.5e3", Some(-2_500.0)),
        ("+3", Some(3.0)),
        ("inf", Some(f64::INFINITY)),
        ("-INF", Some(f64::NEG_INFINITY)),
        ("+infinity", Some(f64::INFINITY)),
        ("nan", None),
        ("1e400", None),
        (" 1", None),
        ("1 ", None),
        ("", None),
        ("1_0", None),
        ("x", None),
    ] {
        assert_eq!(float(text.as_bytes()), score, "{text}");
    }
}
