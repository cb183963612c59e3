//! Reads the catalogue of PostgreSQL: the server, the slot, the publication and the tables around the publication. The
//! queries are the same for every version of PostgreSQL from 15 on. Columns that later versions added to the catalogue
//! are read from the row as JSON.

use serde_json::Value;
use tokio_postgres::{Client, Row};

use crate::decode::is_private;
use crate::event::Table;
use crate::source::postgres::lsn::parse_lsn;
use crate::source::postgres::server::Failure;
use crate::source::postgres::slot::{
    Around, CHILDREN_MAX, IdentityColumn, Limits, OpenTransaction, Place, Publication, Published, Seen, SlotRow, Used,
};

use super::errors::failed;

/// The query for the state of the server. On Amazon RDS a role gets the right to replicate by its membership in another
/// role.
const SERVER: &str = "
SELECT current_setting('server_version_num')::int4, pg_is_in_recovery(),
       coalesce(current_setting('effective_wal_level', true), current_setting('wal_level')),
       (SELECT system_identifier::text FROM pg_control_system()),
       CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn()::text END,
       current_database()::text,
       (SELECT bool_or(r.rolsuper OR r.rolreplication) FROM pg_roles r
         WHERE r.rolname = current_user
            OR (r.rolname = 'rds_replication' AND pg_has_role(current_user, r.oid, 'member'))),
       current_setting('server_encoding')";

/// The query for the limits of the server. A role sees other roles' sessions only as far as its rights go, so the start
/// of another role's session may be unknown. The server has a standby if a session follows the log itself (physical
/// replication), or if a physical slot exists.
const LIMITS: &str = "
SELECT current_user::text,
       (SELECT setting::int8 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'),
       coalesce((SELECT setting::int8 * CASE unit WHEN 'min' THEN 60 ELSE 1 END FROM pg_settings
                  WHERE name = 'idle_replication_slot_timeout'), 0),
       current_setting('max_replication_slots')::int8, (SELECT count(*) FROM pg_replication_slots),
       current_setting('max_wal_senders')::int8, (SELECT count(*) FROM pg_stat_replication),
       pg_size_bytes(current_setting('logical_decoding_work_mem')),
       EXISTS (SELECT FROM pg_replication_slots WHERE slot_type = 'physical')
         OR EXISTS (SELECT FROM pg_stat_replication r
                     WHERE NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid)
                       AND r.application_name NOT IN ('nova', 'pg_basebackup'))";

/// The query for the oldest transaction that has written something, including prepared transactions.
const OLDEST: &str = "
SELECT who, extract(epoch FROM clock_timestamp() - since)::int8 FROM (
  SELECT 'process ' || pid || ' (' || coalesce(application_name, '') || ', ' || coalesce(usename, '') || ')' AS who,
         xact_start AS since
    FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
  UNION ALL
  SELECT 'the prepared transaction ' || gid, prepared FROM pg_prepared_xacts) t
 ORDER BY since LIMIT 1";

const SLOT: &str = "
SELECT to_jsonb(s)::text, coalesce(t.spill_bytes, 0),
       (SELECT concat_ws(', ', nullif(a.application_name, ''), a.usename, a.client_addr::text)
          FROM pg_stat_activity a WHERE a.pid = s.active_pid),
       (SELECT r.sent_lsn::text FROM pg_stat_replication r WHERE r.pid = s.active_pid)
  FROM pg_replication_slots s LEFT JOIN pg_stat_replication_slots t ON t.slot_name = s.slot_name
 WHERE s.slot_name = $1";

/// The query for the state of the publication. The publication's age is compared only with a slot that nobody reads,
/// because the oldest transaction of a slot in use lags behind.
const PUBLICATION: &str = "
SELECT oid::int8, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, xmin::text, puballtables,
       coalesce((SELECT age(p.xmin) < age(s.catalog_xmin) FROM pg_replication_slots s
                  WHERE s.slot_name = $2 AND s.active_pid IS NULL AND s.catalog_xmin IS NOT NULL
                    AND s.database = current_database()), false)
  FROM pg_publication p WHERE pubname = $1";

/// The query for the published tables whose names nova follows, and for their partitions. The membership of a table
/// consists of rows of the catalogue: the publication's own row, and its rows for the table and for the table's schema.
/// If a table is removed from the publication and added again, the row for the table is a new row. PostgreSQL accepts
/// as replica identity neither an index that is checked late (`DEFERRABLE`) nor an invalid index.
const TABLES: &str = "
SELECT c.oid::int8, t.schemaname::text, t.tablename::text, c.relkind = 'p', c.relispartition,
       (SELECT r.relname::text FROM pg_class r WHERE r.oid = pg_partition_root(c.oid)),
       t.rowfilter, c.relreplident::text,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate AND i.indisvalid),
       c.reltuples::int8,
       coalesce((SELECT string_agg(m.oid::text || '.' || m.xmin::text, ',' ORDER BY m.oid) FROM pg_publication_rel m
                  WHERE m.prpubid = p.oid AND m.prrelid = c.oid), '')
         || '/' || coalesce((SELECT m.oid::text || '.' || m.xmin::text FROM pg_publication_namespace m
                  WHERE m.pnpubid = p.oid AND m.pnnspid = c.relnamespace), ''),
       (SELECT coalesce(jsonb_agg(jsonb_build_array(a.attname, a.atttypid::int8) ORDER BY a.attnum), '[]')::text
          FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
           AND a.attname = ANY (t.attnames)),
       (SELECT coalesce(jsonb_agg(jsonb_build_array(a.attname, a.attgenerated <> '', a.attname = ANY (t.attnames))
                                  ORDER BY a.attnum), '[]')::text
          FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           AND (c.relreplident = 'f' OR a.attnum = ANY (
                 SELECT unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) FROM pg_index i
                  WHERE i.indrelid = c.oid AND i.indimmediate AND i.indisvalid
                    AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END))),
       (SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]')::text
          FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
           AND a.attname = ANY (t.attnames)
           AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT'))),
       (SELECT coalesce(jsonb_agg(jsonb_build_array(i.inhrelid::int8, i.xmin::text <> a.xmin::text)
                                  ORDER BY i.inhrelid), '[]')::text
          FROM pg_partition_tree(c.oid) f
          JOIN pg_inherits i ON i.inhrelid = f.relid
          JOIN pg_attribute a ON a.attrelid = f.relid AND a.attname = 'tableoid'
         WHERE f.relid <> c.oid)
  FROM pg_publication p
  JOIN pg_publication_tables t ON t.pubname = p.pubname
  JOIN pg_namespace n ON n.nspname = t.schemaname
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
 WHERE p.pubname = $1
   AND (c.relname = ANY ($2) OR (SELECT r.relname FROM pg_class r WHERE r.oid = pg_partition_root(c.oid)) = ANY ($2))
 ORDER BY t.schemaname, t.tablename";

/// The query for tables whose names nova follows, in every schema, with published tables first. The column for
/// row-level security is true for tables that PostgreSQL would refuse to copy. Each check of the server runs the query
/// for tables once: every ten seconds, and at both ends of a session. The query is fast, because the catalogue has an
/// index of names. If each customer has a schema, there are very many tables, and the limit keeps the answer short.
const PLACES: &str = "
SELECT c.relname::text, n.nspname::text, c.relkind = 'p', row_security_active(c.oid),
       (SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]')::text FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
       (SELECT coalesce(jsonb_agg(h.name), '[]')::text
          FROM (SELECT i.inhrelid::regclass::text AS name FROM pg_inherits i
                 WHERE i.inhparent = c.oid AND c.relkind = 'r' ORDER BY 1 LIMIT $2) h)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relname = ANY ($1) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 ORDER BY c.oid <> ALL ($3::oid[]), n.nspname, c.relname LIMIT $4";

/// The maximum number of tables in the answer to the query for a check.
const PLACES_MAX: i64 = 100;

/// The query for transactions that a new slot waits for, oldest first, including prepared transactions.
const BLOCKERS: &str = "
SELECT 'process ' || pid || ' (' || coalesce(application_name, '') || ', ' || usename || ') since ' || xact_start
  FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
UNION ALL
SELECT 'the prepared transaction ' || gid || ' since ' || prepared FROM pg_prepared_xacts
LIMIT 5";

pub(super) async fn look(client: &Client, slot: &str, publication: &str) -> Result<Seen, Failure> {
    let failed = |error: tokio_postgres::Error| failed(&error);
    let server = client.query_one(SERVER, &[]).await.map_err(failed)?;
    let timeline = server.get::<_, Option<&str>>(4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let mut seen = Seen {
        version: u32::try_from(server.get::<_, i32>(0)).unwrap_or(0),
        in_recovery: server.get(1),
        wal_level: server.get::<_, Option<String>>(2).unwrap_or_default(),
        system_id: server.get::<_, &str>(3).parse().map_err(|_| missing("system identifier"))?,
        timeline: timeline.unwrap_or(0),
        flush_lsn: server.get::<_, Option<&str>>(5).and_then(parse_lsn).unwrap_or(0),
        database: server.get(6),
        may_replicate: server.get::<_, Option<bool>>(7).unwrap_or(false),
        limits: limits(client).await?,
        around: Around { encoding: server.get(8), tables: Vec::new() },
        ..Seen::default()
    };
    if let Some(row) = client.query_opt(SLOT, &[&slot]).await.map_err(failed)? {
        let text: &str = row.get(0);
        let slot = slot_row(&serde_json::from_str(text).map_err(|_| missing("slot"))?);
        let active_by = row.get::<_, Option<String>>(2).unwrap_or_default();
        let sent_lsn = row.get::<_, Option<&str>>(3).and_then(parse_lsn);
        seen.slot = Some(SlotRow { spilled_bytes: row.get(1), active_by, sent_lsn, ..slot });
    }
    if let Some(row) = client.query_opt(PUBLICATION, &[&publication, &slot]).await.map_err(failed)? {
        (seen.publication, seen.tables) = published_by(client, publication, &row).await?;
    }
    let oids: Vec<_> = seen.tables.iter().map(|one| one.oid).collect();
    seen.around.tables = places(client, &oids, PLACES_MAX).await?;
    Ok(seen)
}

/// Returns the publication, and the published tables that nova follows.
async fn published_by(
    client: &Client,
    publication: &str,
    row: &Row,
) -> Result<(Option<Publication>, Vec<Published>), Failure> {
    let (oid, written): (i64, &str) = (row.get(0), row.get(6));
    let found = Publication {
        oid: u32::try_from(oid).unwrap_or(0),
        inserts: row.get(1),
        updates: row.get(2),
        deletes: row.get(3),
        truncates: row.get(4),
        via_root: row.get(5),
        all_tables: row.get(7),
        is_younger: row.get(8),
    };
    let names: Vec<_> = Table::ALL.iter().map(|table| table.name()).collect();
    let rows = client.query(TABLES, &[&publication, &names]).await.map_err(|error| failed(&error))?;
    let tables = rows.iter().map(|row| published(row, &format!("{oid}.{written}"))).collect::<Result<_, _>>()?;
    Ok((Some(found), tables))
}

/// Returns at most `most` tables of the database, published or not, beginning with the tables in `oids`.
pub(super) async fn places(client: &Client, oids: &[u32], most: i64) -> Result<Vec<Place>, Failure> {
    let names: Vec<_> = Table::ALL.iter().map(|table| table.name()).collect();
    let children_max = CHILDREN_MAX as i64 + 1;
    let rows = client.query(PLACES, &[&names, &children_max, &oids, &most]).await.map_err(|error| failed(&error))?;
    let place = |row: &Row| -> Result<Place, Failure> {
        Ok(Place {
            table: Table::from_name(row.get(0)).ok_or_else(|| missing("table"))?,
            namespace: row.get(1),
            partitioned: row.get(2),
            hides_rows: row.get(3),
            columns: serde_json::from_str(row.get(4)).map_err(|_| missing("columns"))?,
            children: serde_json::from_str(row.get(5)).map_err(|_| missing("inheritance"))?,
        })
    };
    rows.iter().map(place).collect()
}

async fn limits(client: &Client) -> Result<Limits, Failure> {
    let row = client.query_one(LIMITS, &[]).await.map_err(|error| failed(&error))?;
    let oldest = client.query_opt(OLDEST, &[]).await.map_err(|error| failed(&error))?;
    Ok(Limits {
        role: row.get(0),
        keep_mib: row.get::<_, Option<i64>>(1).unwrap_or(-1),
        idle_timeout_s: row.get(2),
        slots: Used { most: row.get(3), used: row.get(4) },
        senders: Used { most: row.get(5), used: row.get(6) },
        work_mem_bytes: row.get(7),
        has_standby: row.get(8),
        oldest: oldest.map(|row| OpenTransaction { who: row.get(0), age_s: row.get(1) }),
    })
}

fn missing(what: &str) -> Failure {
    Failure::Away(format!("the server returned no {what}"))
}

fn slot_row(row: &Value) -> SlotRow {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let owned = |name| text(name).unwrap_or_default().to_owned();
    let lsn = |name| text(name).and_then(parse_lsn);
    // Before version 17, PostgreSQL reports a slot's conflict with recovery in the column `conflicting`.
    let conflicting = row.get("conflicting").and_then(Value::as_bool).unwrap_or(false).then_some("rows_removed");
    SlotRow {
        plugin: owned("plugin"),
        database: owned("database"),
        logical: text("slot_type") == Some("logical"),
        active_pid: row.get("active_pid").and_then(Value::as_i64),
        restart_lsn: lsn("restart_lsn"),
        confirmed_lsn: lsn("confirmed_flush_lsn"),
        wal_status: owned("wal_status"),
        safe_wal_bytes: row.get("safe_wal_size").and_then(Value::as_i64),
        invalidation: text("invalidation_reason").or(conflicting).map(str::to_owned),
        failover: row.get("failover").and_then(Value::as_bool).unwrap_or(false),
        ..SlotRow::default()
    }
}

fn published(row: &Row, publication: &str) -> Result<Published, Failure> {
    let oid: i64 = row.get(0);
    let (name, root): (String, Option<String>) = (row.get(2), row.get(5));
    let is_partition: bool = row.get(4);
    let table = Table::from_name(&name);
    // A partition has its own name in the stream if the publication does not publish via the partition root.
    let is_leaf = is_partition && root.as_deref() != Some(&name);
    let columns: Vec<(String, u32)> = serde_json::from_str(row.get(11)).map_err(|_| missing("columns"))?;
    let identity: Vec<(String, bool, bool)> = serde_json::from_str(row.get(12)).map_err(|_| missing("identity"))?;
    let column = |(name, generated, published)| IdentityColumn { name, generated, published };
    let unreadable: Vec<String> = serde_json::from_str(row.get(13)).map_err(|_| missing("privileges"))?;
    let membership: &str = row.get(10);
    // If a table was created as a partition, one transaction wrote both its row in `pg_inherits` and the row of its
    // system column `tableoid`.
    let partitions: Vec<(u32, bool)> = serde_json::from_str(row.get(14)).map_err(|_| missing("partitions"))?;
    Ok(Published {
        table: table.or(root.as_deref().and_then(Table::from_name)),
        oid: u32::try_from(oid).unwrap_or(0),
        namespace: row.get(1),
        name,
        partitioned: row.get(3),
        is_leaf,
        columns,
        filter: row.get(6),
        replica_identity: row.get::<_, &str>(7).chars().next().unwrap_or('d'),
        has_primary_key: row.get(8),
        identity_columns: identity.into_iter().map(column).collect(),
        // COPY does not request private columns, so the role need not be allowed to read them.
        unreadable: unreadable.into_iter().filter(|name| !is_private(name)).collect(),
        estimated_rows: row.get(9),
        partitions,
        membership: format!("{publication}/{membership}"),
    })
}

/// Returns the blocking transactions in words for a person. The text is empty if no transaction blocks the slot, or if
/// the server cannot be asked.
pub(super) async fn blockers(client: &Client) -> String {
    let Ok(rows) = client.query(BLOCKERS, &[]).await else { return String::new() };
    let texts: Vec<String> = rows.iter().filter_map(|row| row.get::<_, Option<String>>(0)).collect();
    texts.join("; ")
}
