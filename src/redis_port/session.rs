//! One connection of the Redis port: it executes complete commands in order, and sends their answers together.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

use crate::event::Id;
use crate::http::Caller;
use crate::http::auth::Subject;
use crate::http::patience::Patient;

use super::budget::{Held, SMALL_BYTES};
use super::client::Client;
use super::commands;
use super::fault::Then;
use super::port::Port;
use super::protocol::{COMMAND_MAX_BYTES, Parser, is_http};
use super::reply::Out;

/// The number of free bytes in the buffer before each read.
const READ_BYTES: usize = 16 << 10;
/// The maximum number of bytes by which the buffer grows at once for a large command.
const LARGE_READ_BYTES: usize = 256 << 10;
/// When the buffered answers have this many bytes, nova sends the answers, even if more commands wait.
const WRITE_MAX_BYTES: usize = 64 << 10;
/// After this many commands of one connection, the worker thread serves its other connections.
const TURN_COMMANDS: u32 = 128;
/// A command that makes the value of one of nova's own keys counts as this many commands.
const MADE_COMMANDS: u32 = 16;

/// The result of a batch of commands.
#[derive(PartialEq, Eq)]
enum Batch {
    /// The connection reads the next commands.
    Done,
    /// The connection of the client ends.
    Over,
}

struct Session<'p, S> {
    port: &'p Port,
    stream: Patient<S>,
    client: Client,
    parser: Parser,
    read: BytesMut,
    out: Out,
    held: Held<'p>,
    caller: Caller,
}

/// Serves one connection until it ends. Returns an error if the connection's stream fails.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    port: &Arc<Port>,
    stream: Patient<S>,
    (address, caller): (String, Caller),
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let id = port.last_id.fetch_add(1, Ordering::Relaxed) + 1;
    let since_ms = port.edge.clock.day_ms();
    let client = Client { id, address, since_ms, ..Client::default() };
    let (read, out, held) = (BytesMut::new(), Out::default(), port.budget.none());
    let mut session = Session { port, stream, client, parser: Parser::default(), read, out, held, caller };
    session.look();
    let mut stopped = std::pin::pin!(stop.wait_for(|stop| *stop));
    loop {
        let room = match session.parser.needed().saturating_sub(session.read.len()) {
            0 => READ_BYTES,
            needed => needed.clamp(READ_BYTES, LARGE_READ_BYTES),
        };
        session.read.reserve(room);
        if !session.held.hold(session.read.capacity()) {
            session.out.error("ERR too many large commands and answers at once; try again later");
            return session.end().await;
        }
        let more = tokio::select! {
            biased;
            more = session.stream.read_buf(&mut session.read) => more?,
            _ = &mut stopped => 0,
        };
        if more == 0 || session.batch().await? == Batch::Over {
            return session.end().await;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    /// Executes every complete command in the buffer, and sends the answers.
    async fn batch(&mut self) -> io::Result<Batch> {
        self.look();
        let mut turn = 0;
        let batch = loop {
            let stranger = self.client.subject.is_none();
            match self.parser.next(&self.read, stranger) {
                Ok(Some(length)) => {
                    if self.command().await == Batch::Over {
                        break Batch::Over;
                    }
                    self.read.advance(length);
                    self.parser.clear();
                }
                Ok(None) => break Batch::Done,
                Err(wrong) => {
                    tracing::debug!(client = self.client.id, "redis: {wrong}");
                    self.out.error(&format!("ERR {wrong}"));
                    self.client.errors += 1;
                    break Batch::Over;
                }
            }
            if self.out.bytes.len() >= WRITE_MAX_BYTES {
                self.send().await?;
            }
            turn += 1 + MADE_COMMANDS * std::mem::take(&mut self.client.made);
            if turn >= TURN_COMMANDS {
                turn = 0;
                tokio::task::yield_now().await;
                self.look();
            }
        };
        self.send().await?;
        self.tell();
        if self.client.subject.is_some() {
            self.stream.answered(!self.read.is_empty());
        }
        self.rest();
        Ok(batch)
    }

    /// Executes one command, and first waits for any step that must come before the command's answer.
    async fn command(&mut self) -> Batch {
        if is_http(self.parser.args(&self.read).at(0)) {
            self.warn_of_http();
            return Batch::Over;
        }
        let begun = self.out.bytes.len();
        let mut noted = false;
        loop {
            let args = self.parser.args(&self.read);
            match commands::run(self.port, &mut self.client, args, &mut self.out, noted) {
                Then::Answered => return Batch::Done,
                Then::Over => return Batch::Over,
                Then::Identify { token, hello } => {
                    let allowed = self.identify(token).await;
                    commands::identified(&mut self.client, allowed, hello.as_ref(), &mut self.out);
                    return Batch::Done;
                }
                Then::Note { subject, users } => {
                    self.out.bytes.truncate(begun);
                    if !self.note(&subject, users).await {
                        self.out.error(
                            "ERR the look at another user's key could not be noted in the audit; try again later",
                        );
                        self.client.errors += 1;
                        return Batch::Done;
                    }
                    noted = true;
                }
            }
        }
    }

    /// Ends the connection without an answer, even to earlier commands, because a web page must not learn that this
    /// port exists.
    fn warn_of_http(&mut self) {
        self.out.bytes.clear();
        self.client.errors += 1;
        if !self.port.told_http.swap(true, Ordering::Relaxed) {
            let address = &self.client.address;
            tracing::warn!(
                "the Redis port got a request of HTTP from {address} and closed the connection: perhaps a page in a browser \
                 tries to have commands run (this is said once)"
            );
        }
    }

    /// Updates the user of the client from the client's token.
    fn look(&mut self) {
        let Some(token) = &self.client.token else {
            self.client.subject = self.port.stranger;
            return self.speaks_for();
        };
        let verified = self.port.edge.auth.verify(token, self.port.edge.clock.day_ms());
        self.client.ended = verified.is_err();
        self.client.subject = verified.ok();
        self.speaks_for();
    }

    fn speaks_for(&mut self) {
        let service = |subject: &Subject| subject.roles.admin || subject.roles.service;
        let user = |subject: &Subject| Caller::User { id: subject.user, service: service(subject) };
        self.client.caller = Some(self.client.subject.as_ref().map_or(self.caller, user));
    }

    /// Verifies the token of AUTH or HELLO. If the token is valid, the client becomes the user of the token.
    async fn identify(&mut self, token: String) -> Result<(), String> {
        let edge = &self.port.edge;
        let limiter = &edge.gate.limiter;
        match edge.auth.verify_or_look(&token, edge.clock.day_ms()).await {
            Ok(_) => {
                self.client.token = Some(token);
                self.look();
                Ok(())
            }
            Err(refusal) => {
                edge.auth.refused.note(&refusal);
                // A client that guesses tokens uses up its quota of refused requests.
                let verdict = limiter.check(crate::http::Class::Refused, self.caller, limiter.now_us());
                Err(match verdict.is_none_or(|verdict| verdict.granted()) {
                    true => {
                        "WRONGPASS invalid username-password pair or user is disabled: AUTH takes a token of nova's API"
                            .to_owned()
                    }
                    false => "ERR quota exceeded: too many refused tokens; try again later".to_owned(),
                })
            }
        }
    }

    /// Writes to the audit that an admin has read data of users other than the admin.
    async fn note(&self, subject: &Subject, users: Vec<Id>) -> bool {
        for user in users {
            if !crate::http::looked(&self.port.edge, subject, "redis-read", user.to_string()).await {
                return false;
            }
        }
        true
    }

    async fn send(&mut self) -> io::Result<()> {
        if self.out.bytes.is_empty() {
            return Ok(());
        }
        if !self.held.hold(self.read.capacity().max(SMALL_BYTES) + self.out.bytes.len()) {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "too many large answers wait for their readers"));
        }
        self.stream.write_all(&self.out.bytes).await?;
        self.out.bytes.clear();
        self.out.bytes.shrink_to(WRITE_MAX_BYTES);
        Ok(())
    }

    /// Adds the executed commands and the errors to the metrics.
    fn tell(&mut self) {
        let counts = &self.port.watch.counts;
        for (total, done) in counts.commands.iter().zip(&mut self.client.done) {
            if *done > 0 {
                total.fetch_add(u64::from(std::mem::take(done)), Ordering::Relaxed);
            }
        }
        counts.errors.fetch_add(u64::from(std::mem::take(&mut self.client.errors)), Ordering::Relaxed);
    }

    /// Frees the memory that a large command took in the buffer.
    fn rest(&mut self) {
        debug_assert!(self.read.len() <= COMMAND_MAX_BYTES + LARGE_READ_BYTES);
        if self.read.is_empty() && self.read.capacity() > SMALL_BYTES {
            self.read = BytesMut::new();
        }
    }

    async fn end(&mut self) -> io::Result<()> {
        self.send().await?;
        self.tell();
        self.stream.shutdown().await
    }
}
