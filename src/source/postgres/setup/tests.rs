use super::*;
use crate::source::postgres::slot::{Place, Publication};

fn wanted() -> Wanted {
    Wanted {
        role: "nova".to_owned(),
        publication: "nova".to_owned(),
        schema: DEFAULT_SCHEMA.to_owned(),
        keep_unknown: KeepUnknown::default(),
    }
}

fn columns(names: &[&str]) -> Vec<SourceColumn> {
    let column = |name: &&str| SourceColumn {
        name: (*name).to_owned(),
        settable: *name != "id",
        in_identity: *name == "id",
        ..SourceColumn::default()
    };
    names.iter().map(column).collect()
}

fn source(table: Table, more: &[&str]) -> SourceTable {
    let known: Vec<_> = table.columns().iter().map(|column| column.name).chain(more.iter().copied()).collect();
    SourceTable { table, partitioned: false, replica_identity: 'd', has_rls: false, columns: columns(&known) }
}

fn existing() -> Existing {
    let more =
        |table| if table == Table::Users { &["email", "password_hash", "bio", "birthday"][..] } else { &["extra"] };
    Existing { tables: Table::ALL.map(|table| source(table, more(table))).to_vec(), ..Existing::default() }
}

fn statements(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.sql.as_str()).collect()
}

const COLUMNS: &str = "(id, username, email_verified, is_active, created_at, updated_at, deleted_at, bio)";

#[test]
fn an_empty_server_gets_a_role_rights_of_columns_and_a_publication_without_private_columns() {
    let plan = plan(&wanted(), &existing(), None).unwrap();
    let users = format!("GRANT SELECT {COLUMNS} ON public.users TO nova");
    let create = format!(
        "CREATE PUBLICATION nova FOR TABLE public.users {COLUMNS}, public.posts, public.follows, public.comments, public.likes"
    );
    assert_eq!(
        statements(&plan),
        [
            "CREATE ROLE nova LOGIN REPLICATION",
            "GRANT CONNECT ON DATABASE \"\" TO nova",
            "GRANT USAGE ON SCHEMA public TO nova",
            &users,
            "GRANT SELECT ON public.posts TO nova",
            "GRANT SELECT ON public.follows TO nova",
            "GRANT SELECT ON public.comments TO nova",
            "GRANT SELECT ON public.likes TO nova",
            &create,
        ]
    );
    assert_eq!(plan.probes.len(), 10);
    assert!(plan.probes[0].starts_with("UPDATE public.users SET username = username WHERE false"));
}

#[test]
fn a_password_is_in_no_text() {
    let plan = plan(&wanted(), &existing(), Some("SCRAM-SHA-256$4096:x")).unwrap();
    assert!(plan.steps[0].sql.contains("SCRAM-SHA-256$4096:x"));
    assert!(!script(&wanted(), &plan).contains("SCRAM-SHA"));
}

#[test]
fn on_amazon_rds_the_right_to_replicate_is_a_membership() {
    let plan = plan(&wanted(), &Existing { has_rds_replication: true, ..existing() }, None).unwrap();
    assert_eq!(statements(&plan)[..2], ["CREATE ROLE nova LOGIN", "GRANT rds_replication TO nova"]);
}

#[test]
fn policies_do_not_hide_rows_from_the_copy() {
    let mut existing = existing();
    existing.tables[0].has_rls = true;
    let made = plan(&wanted(), &existing, None).unwrap();
    assert!(statements(&made).contains(&"ALTER ROLE nova BYPASSRLS"));
    existing.role = Some(Role { bypasses_rls: true, ..Role::default() });
    assert!(!statements(&plan(&wanted(), &existing, None).unwrap()).contains(&"ALTER ROLE nova BYPASSRLS"));
}

/// In issues 158 and 159 of go-pq-cdc, the tool changed the replica identity of tables by itself; nova changes none.
#[test]
fn what_would_break_the_applications_statements_is_refused_with_the_way_out_and_no_identity_is_set() {
    let refused = |spoil: &dyn Fn(&mut SourceTable)| {
        let mut existing = existing();
        spoil(&mut existing.tables[0]);
        let found = plan(&wanted(), &existing, None).unwrap_err();
        assert_eq!(found.len(), 1);
        found[0].clone()
    };
    let full = refused(&|users| {
        users.replica_identity = 'f';
        users.columns.iter_mut().for_each(|column| column.in_identity = true);
    });
    assert_eq!(full.code, Code::IdentityUncovered);
    assert!(full.remedy.contains("REPLICA IDENTITY DEFAULT"), "{full}");
    let none = refused(&|users| users.columns.iter_mut().for_each(|column| column.in_identity = false));
    assert_eq!(none.code, Code::NoReplicaIdentity);
    let private = refused(&|users| {
        users.columns.iter_mut().for_each(|column| column.in_identity = column.name == "email");
    });
    assert_eq!(private.code, Code::IdentityUncovered);
    let lacking = refused(&|users| users.columns.retain(|column| column.name != "username"));
    assert_eq!(lacking.code, Code::PublicationColumns);
    let plans = plan(&wanted(), &existing(), None).unwrap();
    assert!(statements(&plans).iter().all(|sql| !sql.contains("REPLICA IDENTITY")));
}

/// A database with all five tables, published as `nova postgres setup` would publish them.
fn published() -> Existing {
    let mut existing = existing();
    let published = |source: &SourceTable| {
        let is_sent = |column: &&SourceColumn| {
            let known = source.table.columns().iter().any(|known| known.name == column.name);
            source.table != Table::Users || known || column.name == "bio"
        };
        Published {
            table: Some(source.table),
            namespace: DEFAULT_SCHEMA.to_owned(),
            name: source.table.name().to_owned(),
            columns: source.columns.iter().filter(is_sent).map(|column| (column.name.clone(), 25)).collect(),
            ..Published::default()
        }
    };
    existing.seen.tables = existing.tables.iter().map(published).collect();
    existing.seen.publication =
        Some(Publication { inserts: true, updates: true, deletes: true, truncates: true, ..Publication::default() });
    existing
}

fn altered(existing: &Existing) -> Vec<String> {
    let plan = plan(&wanted(), existing, None).unwrap();
    let altered = plan.steps.iter().filter(|step| step.sql.contains("PUBLICATION"));
    altered.map(|step| step.sql.clone()).collect()
}

#[test]
fn truncates_are_published_and_columns_that_nova_knows_are_added() {
    let mut existing = published();
    assert!(altered(&existing).is_empty());
    existing.seen.publication.as_mut().unwrap().truncates = false;
    assert_eq!(altered(&existing), [publication::publish_all("nova")]);
    existing.seen.publication.as_mut().unwrap().truncates = true;
    existing.seen.tables[1].columns.retain(|(name, _)| name != "caption");
    existing.seen.tables[1].filter = Some("(id > 5)".to_owned());
    assert_eq!(
        altered(&existing),
        [
            "ALTER PUBLICATION nova DROP TABLE public.posts",
            "ALTER PUBLICATION nova ADD TABLE public.posts WHERE ((id > 5))",
        ]
    );
    // A single table cannot be removed from a publication of a schema.
    existing.seen.tables[1].membership = "9.7//17.701".to_owned();
    let found = plan(&wanted(), &existing, None).unwrap_err();
    assert!(found[0].remedy.contains("CREATE PUBLICATION nova_tables FOR TABLE public.users ("), "{}", found[0]);
}

#[test]
fn a_table_whose_rows_or_deletes_nova_would_miss_is_refused() {
    let mut existing = existing();
    existing.seen.around.tables.push(Place {
        table: Table::Likes,
        namespace: DEFAULT_SCHEMA.to_owned(),
        partitioned: false,
        columns: Vec::new(),
        children: vec!["public.likes_old".to_owned()],
        hides_rows: false,
    });
    let found = plan(&wanted(), &existing, None).unwrap_err();
    assert_eq!((found.len(), found[0].code), (1, Code::Inheritance));
    existing.seen.around.tables.clear();
    let likes = &mut existing.tables[4];
    likes.replica_identity = 'i';
    likes.columns.iter_mut().for_each(|column| column.in_identity = column.name == "user_id");
    let found = plan(&wanted(), &existing, None).unwrap_err();
    assert_eq!((found.len(), found[0].code), (1, Code::IdentityWithoutKey));
    assert!(found[0].remedy.contains("ALTER TABLE public.likes REPLICA IDENTITY DEFAULT"), "{}", found[0]);
}

#[test]
fn a_private_column_of_another_table_is_left_out_too() {
    let mut existing = existing();
    existing.tables[3] = source(Table::Comments, &["Email"]);
    let plan = plan(&wanted(), &existing, None).unwrap();
    let create = statements(&plan).pop().unwrap().to_owned();
    assert!(create.contains("public.comments (id, post_id") && !create.to_lowercase().contains(" email,"), "{create}");
    assert!(!create.contains("Email\""), "{create}");
}

#[test]
fn the_script_is_one_transaction_and_has_every_statement_of_the_documents() {
    let text = script(&wanted(), &by_default(&wanted()));
    assert!(text.contains("\nBEGIN;\n") && text.ends_with("COMMIT;\n"));
    assert!(text.contains(&publication::create("nova", &publication::by_default(), false)));
    for probe in ["UPDATE users SET id = id WHERE false;", "DELETE FROM likes WHERE false;", "rds_replication"] {
        assert!(text.contains(probe), "{probe}");
    }
}

#[test]
fn the_containers_database_is_set_up_as_it_is_printed() {
    let file = include_str!("../../../../deploy/postgres/40-direct.sql");
    let lines: Vec<_> = file.lines().filter(|line| !line.starts_with("--") && !line.starts_with('\\')).collect();
    let plan = by_default(&Wanted { publication: "nova_direct".to_owned(), ..wanted() });
    let printed: Vec<_> = plan.steps.iter().map(|step| format!("{};", step.shown)).collect();
    assert_eq!(lines[0], printed[0].replace(';', " PASSWORD :'password';"));
    assert_eq!(lines[1..], printed[1..]);
}
