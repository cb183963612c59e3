//! The faults of the simulation, and what a person does about some of them.

use nova::event::{Table, TopicPartition};
use nova::pipeline::decided::Decision;
use nova::pipeline::writer::{Command, Message};

use super::broker::{Content, Rebalance};
use super::clients::refused;
use super::network::Weather;
use super::node::{EVENTS, Node};
use super::world::World;

impl World {
    pub fn weather(&mut self) {
        let weather = match self.rng.below(9) {
            0 | 1 => Weather::Fair,
            2 | 3 => Weather::Down,
            4..7 => Weather::Rough(10 + self.rng.below(80)),
            7 => Weather::Code([60, 516, 241, 252, 210][self.rng.below(5) as usize]),
            _ => Weather::ViewThrows,
        };
        self.tell(|| format!("ClickHouse: {weather:?}"));
        self.server.set(weather);
    }

    /// Ends the nova process. Any part of the writes that were not synced may be lost. `sync` is the number of
    /// completed syncs, after which the disk is cut.
    pub fn die(&mut self, sync: Option<usize>) {
        let seed = if self.rng.below(3) == 0 { 0 } else { self.rng.next() };
        let sync = sync.unwrap_or(self.disk.syncs());
        self.tell(|| format!("death after sync {sync}"));
        if sync < self.disk.syncs() {
            // The answer that a request got belongs to a commit that is lost.
            self.requests.iter_mut().for_each(|request| request.answer = None);
        }
        self.disk = self.disk.image(sync, seed);
        self.uncertain += self.node.status.uncertain_batches.load(std::sync::atomic::Ordering::Relaxed);
        let seed = self.rng.next();
        self.node = Node::boot(&self.setup, &self.disk, &self.server, &self.broker, seed, self.choices.with_log);
        self.lives += 1;
        self.check_recovery();
        if self.choices.with_log {
            self.answers();
        }
    }

    /// N1, N13: after a crash between two syncs, the store has the state before the commit or the state after it.
    pub fn die_in_a_commit(&mut self) {
        let before = (self.node.memory(), self.disk.syncs());
        let most = 1 + self.rng.below(4) as usize;
        self.node.write(most, None).unwrap();
        let after = (self.node.memory(), self.disk.syncs());
        let sync = before.1 + self.rng.below((after.1 - before.1) as u64 + 1) as usize;
        self.die(Some(sync));
        let found = self.node.memory();
        assert!(found == before.0 || found == after.0, "N13: recovery found a state that never was");
    }

    /// Makes the writes or reads of the disk fail from some moment on. The process ends, and starts again when the disk
    /// works again.
    pub fn bad_disk(&mut self) {
        match self.rng.below(3) {
            0 => self.disk.fail_reads_after(self.rng.below(6) as u32),
            _ => self.disk.fail_writes_after(self.rng.below(40) as u32),
        }
        let before = self.node.memory();
        let most = 1 + self.rng.below(4) as usize;
        let ended = self.node.write(most, Some(Message::Seal));
        self.tell(|| format!("bad disk: {}", ended.is_err()));
        let shown = self.node.memory();
        self.die(None);
        let fine = shown == before || shown == self.node.memory();
        assert!(fine, "N4: readers saw a commit that never was");
    }

    pub fn rebalance(&mut self) {
        let mut broker = self.broker.lock();
        let names: Vec<_> = broker.logs.keys().cloned().collect();
        for name in names {
            if self.rng.below(2) == 0 {
                broker.orders.push(Rebalance::Revoked(name.clone()));
                broker.orders.push(Rebalance::Assigned(name));
            }
        }
        drop(broker);
        self.tell(|| "rebalance".to_owned());
        // Sometimes the polled records are committed before the rebalance, as in a drain.
        if self.rng.below(2) == 0 {
            self.write(None);
        }
        self.node.ingest();
    }

    pub fn repeat(&mut self) {
        let now_us = self.now_ms() * 1_000;
        let messages = match self.choices.kinds.produced_again && self.rng.below(3) == 0 {
            true => self.product.produced_again(),
            false => self.product.restart(now_us),
        };
        self.tell(|| format!("the connector begins again and writes {}", messages.len()));
        self.append(messages);
    }

    /// Draws one of the events that happen rarely.
    pub fn oddity(&mut self) {
        let now_us = self.now_ms() * 1_000;
        let kind = self.rng.below(10);
        self.tell(|| format!("oddity {kind}"));
        match kind {
            0 => {
                let messages = self.product.truncate(now_us);
                self.append(messages);
            }
            1 => {
                let messages = self.product.promote(now_us);
                self.append(messages);
            }
            8 => self.product.set_clocks(),
            2 | 3 | 9 => {
                let messages = self.product.snapshot(now_us);
                self.append(messages);
            }
            4 => {
                let topic = ["__debezium-heartbeat.cdc", "cdc.message", "cdc.transaction", "strange"];
                let name = TopicPartition::new(topic[self.rng.below(4) as usize], 0);
                self.put(&name, Content::of("{\"ts_ms\":1}"));
            }
            5 => {
                let (table, key, value) = self.product.poison();
                let name = TopicPartition::new(format!("cdc.{table}"), 0);
                let offset = self.put(&name, Content { key: key.map(Into::into), ..Content::of(value) });
                self.expected.get_mut(&name).unwrap().poison.push(offset);
            }
            6 => self.repair(),
            _ if self.choices.with_log => {}
            _ => {
                let name = TopicPartition::new(EVENTS, 0);
                let offset = self.put(&name, Content::of("{\"user_id\":"));
                self.expected.get_mut(&name).unwrap().poison.push(offset);
            }
        }
    }

    /// Removes the constraint of `post_events` from ClickHouse, or restores it.
    fn repair(&mut self) {
        if self.choices.poison_rows {
            self.repaired = true;
            let refuses = &mut self.server.tables.lock().refuses;
            *refuses = refuses.is_none().then_some(refused as fn(&[u8]) -> bool);
        }
    }

    /// Acts as a person: resumes halted tables, replays dead letters, pauses a table.
    pub fn operator(&mut self) {
        match self.rng.below(3) {
            0 => {
                self.replayed = true;
                self.tell(|| "dead letters are replayed".to_owned());
                let read = self.node.opened.store.read().unwrap();
                let ids = nova::pipeline::dead::page(&read, None, 1_000).unwrap().into_iter().map(|(id, _)| id);
                let ids = ids.collect::<Vec<_>>();
                drop(read);
                let reply = Box::new(|_| ());
                let command = Command::ReplayDead { ids, actor: "sim".to_owned(), force: None, reply };
                self.write(Some(Message::Command(command)));
            }
            1 => {
                let table = Table::ALL[self.rng.below(5) as usize];
                self.tell(|| format!("{table} is paused"));
                let command = Command::Pause { table, actor: "sim".to_owned(), reply: Box::new(|()| ()) };
                self.write(Some(Message::Command(command)));
            }
            _ => self.release(),
        }
    }

    /// Runs the command that the reason of each halt names.
    pub fn release(&mut self) {
        for table in Table::ALL {
            let Some(halt) = self.node.opened.writer.tables()[table as usize].halt.clone() else { continue };
            self.tell(|| format!("{table} goes on: {halt}"));
            let actor = "sim".to_owned();
            let command = match halt.needs_epoch() {
                true if !self.product.promoted => panic!("I9: {table} halts though its LSNs never began again: {halt}"),
                true => Command::BumpEpoch { table, actor, reply: Box::new(|_| ()) },
                false => {
                    let truncate = halt.needs_decision().then_some(Decision::Apply);
                    Command::Resume { table, truncate, actor, reply: Box::new(|result| result.unwrap()) }
                }
            };
            self.write(Some(Message::Command(command)));
        }
    }

    /// Sets the wall clock of nova's machine. The timestamps of records follow the broker's clock, which this fault
    /// does not change.
    pub fn jump(&mut self) {
        self.skew_ms = self.rng.below(7_200_000) as i64 - 3_600_000;
        let skew_ms = self.skew_ms;
        self.tell(|| format!("the clock is {skew_ms} ms off"));
        self.setup.clock.set(self.now_ms() + self.skew_ms);
    }
}
