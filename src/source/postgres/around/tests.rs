use super::*;
use crate::source::postgres::finding::Effect;
use crate::source::postgres::fitness;
use crate::source::postgres::slot::{Around, IdentityColumn, Publication};

fn place(table: Table, namespace: &str) -> Place {
    Place {
        table,
        namespace: namespace.to_owned(),
        partitioned: false,
        columns: table.columns().iter().map(|column| column.name.to_owned()).collect(),
        children: Vec::new(),
        hides_rows: false,
    }
}

/// A database with all five tables, each of which has all its columns and is published with all its columns.
fn fit() -> Seen {
    let around = Around { encoding: "UTF8".to_owned(), tables: Table::ALL.map(|table| place(table, "app")).to_vec() };
    let published = |place: &Place| Published {
        table: Some(place.table),
        namespace: place.namespace.clone(),
        name: place.table.name().to_owned(),
        columns: place.columns.iter().map(|name| (name.clone(), 25)).collect(),
        replica_identity: 'd',
        has_primary_key: true,
        identity_columns: vec![IdentityColumn { name: "id".to_owned(), generated: false, published: true }],
        ..Published::default()
    };
    let row = Publication { inserts: true, updates: true, deletes: true, truncates: true, ..Publication::default() };
    let tables = around.tables.iter().map(published).collect();
    Seen { publication: Some(row), tables, around, ..Seen::default() }
}

type Spoil = fn(&mut Seen);

#[test]
fn what_would_be_missing_without_a_word_is_said_alone_with_a_way_out() {
    assert_eq!(findings(&fit(), "nova"), []);
    let spoils: &[(Code, Spoil, &str)] = &[
        (
            Code::Inheritance,
            |seen| seen.around.tables[4].children = vec!["app.likes_old".to_owned()],
            "ALTER TABLE app.likes_old NO INHERIT app.likes",
        ),
        (Code::RowSecurity, |seen| seen.around.tables[1].hides_rows = true, "ALTER ROLE nova BYPASSRLS"),
        (Code::Encoding, |seen| seen.around.encoding = "SQL_ASCII".to_owned(), "SELECT id FROM posts WHERE caption ~"),
        (
            Code::ColumnsLeftOut,
            |seen| seen.tables[1].columns.retain(|(name, _)| name != "soft_delete"),
            "ALTER PUBLICATION nova DROP TABLE app.posts; ALTER PUBLICATION nova ADD TABLE app.posts (id, ",
        ),
    ];
    for (code, spoil, words) in spoils {
        let mut seen = fit();
        spoil(&mut seen);
        let found = findings(&seen, "nova");
        assert_eq!(found.iter().map(|one| one.code).collect::<Vec<_>>(), [*code]);
        assert!(found[0].remedy.contains(words), "{}", found[0]);
        assert_eq!(code.effect() == Effect::Stops, *code == Code::Inheritance);
    }
}

#[test]
fn a_column_that_comes_back_keeps_the_others_and_the_filter_and_is_named() {
    let mut seen = fit();
    seen.tables[0].columns.retain(|(name, _)| name != "deleted_at");
    seen.tables[0].filter = Some("is_active".to_owned());
    let found = findings(&seen, "nova");
    assert!(found[0].detail.contains("app.users (deleted_at)"), "{}", found[0]);
    assert!(found[0].remedy.contains("updated_at, deleted_at) WHERE (is_active); then nova cdc resnapshot users"));
    // A table that does not have the column `deleted_at` has no unpublished column.
    seen.around.tables[0].columns.retain(|name| name != "deleted_at");
    assert_eq!(findings(&seen, "nova"), []);
}

#[test]
fn a_table_that_is_not_published_is_nobodys_matter() {
    let mut seen = fit();
    let other = Place { hides_rows: true, children: vec!["x.y".to_owned()], ..place(Table::Likes, "other") };
    seen.around.tables.push(other);
    assert_eq!(findings(&seen, "nova"), []);
}

#[test]
fn policies_keep_only_the_tables_from_a_copy_that_they_hold_for() {
    let mut seen = fit();
    seen.around.tables[1].hides_rows = true;
    let refused = |tables| uncopyable(&seen, tables).map(|one| one.code);
    assert_eq!(refused(Tables::NONE.with(Table::Likes)), None);
    assert_eq!(refused(Tables::ALL), Some(Code::RowSecurity));
}

#[test]
fn many_tables_that_inherit_are_not_all_named() {
    let names = ["a.a", "a.b", "a.c", "a.d"].map(str::to_owned).to_vec();
    let many = inherited(&Place { children: names, ..place(Table::Posts, "app") }).unwrap();
    assert!(many.detail.starts_with("a.a, a.b, a.c and more inherit from app.posts"), "{many}");
}

#[test]
fn the_statement_of_a_missing_publication_names_the_schema_and_the_columns_that_are_there() {
    let Seen { mut around, .. } = fit();
    around.tables[0].columns.retain(|name| name != "deleted_at");
    around.tables[0].columns.push("email".to_owned());
    around.tables[1].partitioned = true;
    around.tables.push(place(Table::Users, "archive"));
    let found = fitness::findings(&Seen { around, ..Seen::default() }, "nova", "nova");
    let missing = found.iter().find(|one| one.code == Code::PublicationMissing).unwrap();
    let statement = "CREATE PUBLICATION nova FOR TABLE app.users (id, username, email_verified, is_active, created_at, \
                     updated_at), app.posts, app.follows, app.comments, app.likes WITH (publish_via_partition_root = true)";
    assert!(missing.remedy.contains(statement), "{missing}");
}

#[test]
fn a_table_that_lacks_in_the_publication_is_added_from_the_schema_of_the_others() {
    let mut seen = fit();
    seen.tables.pop();
    seen.around.tables.insert(0, place(Table::Likes, "a"));
    seen.around.tables[5].partitioned = true;
    let found = fitness::findings(&seen, "nova", "nova");
    let lacks = found.iter().find(|one| one.code == Code::PublicationIncomplete).unwrap();
    assert!(lacks.remedy.starts_with("ALTER PUBLICATION nova ADD TABLE app.likes; "), "{lacks}");
    assert!(lacks.remedy.contains("publish_via_partition_root = true"), "{lacks}");
}
