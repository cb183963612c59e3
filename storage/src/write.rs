//! Write transactions. A small commit is a record of the commit log, and any other commit is a durable commit of redb.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, Durability, Key, WriteTransaction};

use crate::changes::Changes;
use crate::check;
use crate::commit_log::{self, ACTIVE, ACTIVE_KEY, CommitLog, LOG_KEY};
use crate::disk::Disk;
use crate::error::WriteError;
use crate::guard::{guard, guarded};
use crate::schema::{self, Blobs, COMMIT_LOG, META};
use crate::store::{FORMAT, FORMAT_KEY};

/// How far the commit log of an open store is.
#[derive(Debug)]
pub(crate) enum LogState {
    /// The next durable commit makes the value of the log, in a page of this many bytes. If the number is 0, the store
    /// has no log.
    Absent(usize),
    /// The log has a place. The next durable commit says that commits may be in the log alone.
    Placed(CommitLog),
    /// Small commits go to the log.
    Active(CommitLog),
}

/// What the write transactions of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub disk: Arc<Disk>,
    /// Locked by the thread with the write transaction.
    log: Mutex<LogState>,
}

impl Shared {
    pub fn new(disk: Arc<Disk>, log: LogState) -> Shared {
        Shared { disk, log: Mutex::new(log) }
    }

    pub fn log(&self) -> MutexGuard<'_, LogState> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write transaction. A write transaction that is dropped without a commit has no effect.
pub struct WriteTxn {
    /// The transaction of redb, or `None` after the commit.
    txn: Option<WriteTransaction>,
    shared: Arc<Shared>,
    /// The changes of the transaction, for the commit log.
    changes: RefCell<Changes>,
}

impl WriteTxn {
    pub(crate) fn begin(database: &Database, shared: &Arc<Shared>) -> Result<WriteTxn, WriteError> {
        let txn = database.begin_write()?;
        let room = if let LogState::Active(log) = &*shared.log() { log.room() } else { 0 };
        Ok(WriteTxn { txn: Some(txn), shared: Arc::clone(shared), changes: RefCell::new(Changes::up_to(room)) })
    }

    pub(crate) fn open(&self) -> Result<&WriteTransaction, WriteError> {
        self.txn.as_ref().ok_or_else(|| WriteError::Storage("the transaction has ended".into()))
    }

    /// Creates the tables, and writes the entry that every store has: its format.
    pub(crate) fn begin_store(self) -> Result<(), WriteError> {
        guard(|| -> Result<(), WriteError> { Ok(schema::create_all(self.open()?)?) })?;
        self.put(META, FORMAT_KEY, &[FORMAT])?;
        self.commit()
    }

    pub fn put<'k, K: Key + 'static>(
        &self,
        table: Blobs<K>,
        key: K::SelfType<'k>,
        value: &[u8],
    ) -> Result<(), WriteError> {
        self.changes.borrow_mut().put(&table, &key, value);
        guard(|| {
            self.open()?.open_table(table)?.insert(key, value)?;
            Ok(())
        })
    }

    /// Puts many entries into a table. Entries in the order of their keys are written fastest.
    pub fn put_all<'k, K: Key + 'static>(
        &self,
        table: Blobs<K>,
        entries: impl Iterator<Item = (K::SelfType<'k>, &'k [u8])>,
    ) -> Result<(), WriteError> {
        let mut changes = self.changes.borrow_mut();
        guard(|| {
            let mut open = self.open()?.open_table(table)?;
            for (key, value) in entries {
                changes.put(&table, &key, value);
                open.insert(key, value)?;
            }
            Ok(())
        })
    }

    pub fn remove<'k, K: Key + 'static>(&self, table: Blobs<K>, key: K::SelfType<'k>) -> Result<bool, WriteError> {
        self.changes.borrow_mut().remove(&table, &key);
        guard(|| Ok(self.open()?.open_table(table)?.remove(key)?.is_some()))
    }

    /// Removes every entry of the range.
    pub fn remove_range<'r, K: Key + 'static, R: Borrow<K::SelfType<'r>> + 'r>(
        &self,
        table: Blobs<K>,
        range: impl RangeBounds<R> + 'r,
    ) -> Result<(), WriteError> {
        self.changes.borrow_mut().remove_range::<K, R>(&table, &range);
        guard(|| Ok(self.open()?.open_table(table)?.retain_in::<R, _>(range, |_, _| false)?))
    }

    /// Removes entries from the beginning of the range, until their values have about this many bytes. Returns false if
    /// the range is empty afterwards.
    pub fn remove_first<'r, K: Key + 'static, R: Borrow<K::SelfType<'r>> + 'r>(
        &self,
        table: Blobs<K>,
        range: impl RangeBounds<R> + 'r,
        bytes: usize,
    ) -> Result<bool, WriteError> {
        self.changes.borrow_mut().remove_first::<K, R>(&table, &range, bytes);
        guard(|| {
            let (mut table, mut removed) = (self.open()?.open_table(table)?, 0);
            let mut first = table.extract_from_if::<R, _>(range, |_, _| true)?;
            while removed < bytes {
                let Some(entry) = first.next() else { return Ok(false) };
                removed += entry?.1.value().len();
            }
            Ok(true)
        })
    }

    /// Removes every entry of the table.
    pub fn clear<K: Key + 'static>(&self, table: Blobs<K>) -> Result<(), WriteError> {
        self.changes.borrow_mut().clear(&table);
        guard(|| {
            let txn = self.open()?;
            txn.delete_table(table)?;
            txn.open_table(table)?;
            Ok(())
        })
    }

    /// Makes all changes of the transaction durable, or none of them.
    pub fn commit(self) -> Result<(), WriteError> {
        let number = self.shared.disk.commits() + 1;
        self.commit_as(number)
    }

    /// Commits the transaction as the commit with this number.
    pub(crate) fn commit_as(mut self, number: u64) -> Result<(), WriteError> {
        guard(|| -> Result<(), WriteError> {
            self.open()?.open_table(META)?.insert(check::COMMITS_KEY, &check::commits_value(number)[..])?;
            Ok(())
        })?;
        let Some(mut txn) = self.txn.take() else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let mut log = shared.log();
        match (&mut *log, self.changes.get_mut().bytes()) {
            (LogState::Active(log), Some(changes)) => {
                log.append(&shared.disk, number, changes).map_err(|error| WriteError::Storage(error.into()))?;
                // The record is durable, so a later commit must not get its number.
                guard(|| -> Result<(), WriteError> {
                    txn.set_durability(Durability::None)?;
                    Ok(txn.commit()?)
                })
                .inspect_err(|_| shared.disk.fail())?;
                log.acknowledge(&shared.disk, number);
            }
            (log, _) => {
                commit_durably(txn, log, &shared.disk)?;
                shared.disk.set_mark(number);
            }
        }
        shared.disk.set_commits(number);
        Ok(())
    }
}

/// Makes a durable commit of redb, with the table of free pages, and moves the commit log on.
fn commit_durably(mut txn: WriteTransaction, log: &mut LogState, disk: &Disk) -> Result<(), WriteError> {
    match log {
        LogState::Absent(0) | LogState::Active(_) => {}
        LogState::Absent(page_bytes) => {
            let seed = commit_log::random();
            disk.await_log(*page_bytes, seed);
            let value = commit_log::empty_value(*page_bytes, seed);
            guard(|| -> Result<(), WriteError> {
                txn.open_table(COMMIT_LOG)?.insert(LOG_KEY, &value[..])?;
                Ok(())
            })?;
        }
        LogState::Placed(_) => guard(|| -> Result<(), WriteError> {
            txn.open_table(META)?.insert(ACTIVE_KEY, &ACTIVE[..])?;
            Ok(())
        })?,
    }
    txn.set_quick_repair(true);
    guard(|| -> Result<(), WriteError> { Ok(txn.commit()?) })?;
    let earlier = std::mem::replace(log, LogState::Absent(0));
    *log = match earlier {
        LogState::Absent(0) => LogState::Absent(0),
        LogState::Absent(_) => {
            disk.place_log().map_or(LogState::Absent(0), |place| LogState::Placed(CommitLog::new(place)))
        }
        LogState::Placed(mut log) | LogState::Active(mut log) => {
            log.begin(disk);
            LogState::Active(log)
        }
    };
    Ok(())
}

impl Drop for WriteTxn {
    fn drop(&mut self) {
        let txn = self.txn.take();
        // The result of dropping the transaction does not matter, because an earlier error has already been reported.
        let _ = guarded(|| drop(txn));
    }
}
