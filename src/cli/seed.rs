//! `nova seed` makes a small social world on one's own node, and then keeps the world active with posts, follows,
//! likes, comments and client events. All data goes through the node's HTTP API.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::event::Id;

use super::error::CliError;
use super::remote::{Node, Remote};
use super::signals::Signals;
use super::{out, status};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The number of users of the world.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    users: u32,
    /// The number of things that happen a second once the world exists. With 0, the command ends as soon as the world
    /// exists.
    #[arg(long, default_value_t = 20, value_name = "R", value_parser = clap::value_parser!(u32).range(0..=2_000))]
    rate: u32,
    /// How many seconds the command runs. The default is until a signal (Ctrl-C).
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// The seed of the world. The same number makes the same world.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    remote: Remote,
}

/// The maximum number of rows in one request, which is also the maximum number of events in one request.
const ROWS: usize = 400;
const EVENTS: usize = 100;
/// The number of ticks a second. After every 240 ticks, nova looks up the node again, so that the token for the node
/// never expires.
const TICKS_A_SECOND: u32 = 4;
const LOOK_EVERY_TICKS: u64 = 240;
const HOUR_MS: i64 = 3_600_000;
/// The number of follows that each user adds on average.
const FOLLOWS: usize = 12;
const LIKES: usize = 6;
const VIEWS: usize = 10;
const NAMES: [&str; 20] = [
    "ada",
    "grace",
    "alan",
    "edsger",
    "barbara",
    "donald",
    "margaret",
    "dennis",
    "radia",
    "leslie",
    "frances",
    "ken",
    "hedy",
    "john",
    "katherine",
    "tim",
    "shafi",
    "robin",
    "lynn",
    "niklaus",
];
const PLACES: [&str; 10] = [
    "the harbour",
    "the hills",
    "a roof",
    "the old town",
    "the lake",
    "a night train",
    "the market",
    "home",
    "a forest",
    "the coast",
];
const THINGS: [&str; 10] = [
    "first light",
    "rain",
    "new shoes",
    "coffee",
    "a long walk",
    "friends",
    "fog",
    "a good book",
    "street food",
    "blossoms",
];

pub(super) fn run(args: &Args, config: &Config, json: bool, signals: &Signals) -> Result<(), CliError> {
    let mut node = status::node(&args.remote, config)?;
    let mut world = World::new(args);
    let rows = world.begin();
    let total: usize = rows.iter().map(|(_, rows)| rows.len()).sum();
    for (table, rows) in &rows {
        for rows in rows.chunks(ROWS) {
            put(&node, table, rows)?;
        }
    }
    let events = world.first_views();
    for events in events.chunks(EVENTS) {
        send(&node, events)?;
    }
    let person = world.users[0];
    if json {
        let told = json!({ "users": args.users, "rows": total, "events": events.len(), "person": person.to_string() });
        out::line(&told.to_string())?;
    } else {
        out::line(&format!(
            "{} users, {total} rows, {} events. The user who is followed most: {person}",
            args.users,
            events.len()
        ))?;
        let data = config.data_dir.display();
        out::line(&format!("nova --data {data} token --sub {person}"))?;
        out::line(&format!("nova --data {data} explain --user {person}"))?;
    }
    if args.rate == 0 {
        return Ok(());
    }
    if !json {
        out::line(&format!(
            "{} things happen a second from now on; end with Ctrl-C. Look at them: nova top, nova tap",
            args.rate
        ))?;
    }
    let mut waiting = signals.handled();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let tick = Duration::from_secs(1) / TICKS_A_SECOND;
    let ticks = args.seconds.map_or(u64::MAX, |seconds| seconds.saturating_mul(TICKS_A_SECOND.into()));
    for number in 0..ticks {
        let signalled = runtime.block_on(async { tokio::time::timeout(tick, waiting.next()).await.is_ok() });
        if signalled {
            return Ok(());
        }
        if number % LOOK_EVERY_TICKS == LOOK_EVERY_TICKS - 1 {
            node = status::node(&args.remote, config)?;
        }
        // If the rate is not a multiple of the ticks, some ticks of a second have one more act, so that the second has
        // the whole rate.
        let of_second = number % u64::from(TICKS_A_SECOND);
        let due = |tick: u64| u64::from(args.rate) * tick / u64::from(TICKS_A_SECOND);
        world.live(&node, due(of_second + 1) - due(of_second))?;
    }
    Ok(())
}

fn put(node: &Node, table: &str, rows: &[Value]) -> Result<(), CliError> {
    let answer = node.post("/api/v1/rows", &json!({ table: rows }))?;
    match answer["success"].as_bool() {
        Some(true) => Ok(()),
        _ => Err(CliError::Failed(format!("the node put rows of {table} aside: nova dlq list"))),
    }
}

fn send(node: &Node, events: &[Value]) -> Result<(), CliError> {
    node.post("/api/v1/events", &json!({ "events": events })).map(drop)
}

/// The users and posts of the world. The seed draws low numbers far more often than high numbers, so that a few users
/// and posts have most of the activity.
pub(super) struct World {
    rng: Rng,
    users: Vec<Id>,
    posts: Vec<Id>,
}

impl World {
    fn new(args: &Args) -> World {
        let mut rng = Rng::with_seed(args.seed);
        let users = (0..args.users).map(|_| Id::from_u128(rng.u128(1..))).collect();
        World { rng, users, posts: Vec::new() }
    }

    /// A world of existing users and posts, with the posts from the oldest to the newest.
    pub fn of(users: Vec<Id>, posts: Vec<Id>, seed: u64) -> World {
        World { rng: Rng::with_seed(seed), users, posts }
    }

    fn skewed(&mut self, count: usize) -> usize {
        ((self.rng.f64().powi(2) * count as f64) as usize).min(count.saturating_sub(1))
    }

    fn user(&mut self) -> Id {
        let number = self.skewed(self.users.len());
        self.users[number]
    }

    /// Draws a user for an act. Every user is drawn with the same probability.
    fn somebody(&mut self) -> Id {
        let number = self.rng.usize(0..self.users.len());
        self.users[number]
    }

    fn post(&mut self) -> Id {
        // New posts get the most views.
        let number = self.skewed(self.posts.len());
        self.posts[self.posts.len() - 1 - number]
    }

    /// Draws a time within the last `hours`.
    fn lately(&mut self, hours: i64) -> String {
        rfc3339((Clock::System.now_ms() - self.rng.i64(1_000..hours * HOUR_MS)) * 1_000)
    }

    fn new_post(&mut self, created_at: Option<String>) -> Value {
        let (id, author) = (Id::from_u128(self.rng.u128(1..)), self.user());
        let (thing, place) = (self.rng.choice(THINGS).unwrap_or_default(), self.rng.choice(PLACES).unwrap_or_default());
        self.posts.push(id);
        let mut row =
            json!({ "id": id.to_string(), "user_id": author.to_string(), "caption": format!("{thing}, from {place}") });
        if let Some(created_at) = created_at {
            row["updated_at"] = created_at.clone().into();
            row["created_at"] = created_at.into();
        }
        row
    }

    fn pair(&mut self) -> Option<Value> {
        let (from, to) = (self.somebody(), self.user());
        (from != to).then(|| json!({ "follower_id": from.to_string(), "following_id": to.to_string() }))
    }

    fn like(&mut self, created_at: Option<String>) -> Value {
        let (user, post) = (self.somebody(), self.post());
        let mut row = json!({ "user_id": user.to_string(), "post_id": post.to_string() });
        if let Some(created_at) = created_at {
            row["created_at"] = created_at.into();
        }
        row
    }

    fn comment(&mut self) -> Value {
        let (user, post) = (self.somebody(), self.post());
        let text = self.rng.choice(THINGS).unwrap_or_default();
        json!({ "user_id": user.to_string(), "post_id": post.to_string(), "content": format!("{text}!") })
    }

    fn event(&mut self, action: &str, at: String) -> Value {
        let (user, post) = (self.somebody(), self.post());
        let mut event =
            json!({ "event_time": at, "user_id": user.to_string(), "post_id": post.to_string(), "action": action });
        if action == "view" {
            event["dwell_ms"] = self.rng.u32(500..30_000).into();
        }
        event
    }

    /// Makes the rows with which the world begins.
    fn begin(&mut self) -> Vec<(&'static str, Vec<Value>)> {
        let count = self.users.len();
        let name = |(number, id): (usize, &Id)| {
            let name = NAMES[number % NAMES.len()];
            json!({ "id": id.to_string(), "username": format!("{name}{}", number / NAMES.len()) })
        };
        let users: Vec<_> = self.users.iter().enumerate().map(name).collect();
        let mut posts = Vec::new();
        for _ in 0..count * 7 / 5 {
            let at = self.lately(71);
            posts.push(self.new_post(Some(at)));
        }
        let follows: Vec<_> = (0..count * FOLLOWS).filter_map(|_| self.pair()).collect();
        let mut likes = Vec::new();
        for _ in 0..count * LIKES {
            let at = self.lately(23);
            likes.push(self.like(Some(at)));
        }
        let comments: Vec<_> = (0..count).map(|_| self.comment()).collect();
        vec![("users", users), ("posts", posts), ("follows", follows), ("comments", comments), ("likes", likes)]
    }

    fn first_views(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        for _ in 0..self.users.len() * VIEWS {
            let at = self.lately(20);
            events.push(self.event("view", at));
        }
        events
    }

    /// Sends the rows and events of `count` random acts to the node.
    pub fn live(&mut self, node: &Node, count: u64) -> Result<(), CliError> {
        let (mut rows, mut events) = (std::collections::BTreeMap::<&str, Vec<Value>>::new(), Vec::new());
        for _ in 0..count {
            let now = || rfc3339(Clock::System.now_ms() * 1_000);
            match self.rng.u8(0..100) {
                0..60 => events.push(self.event("view", now())),
                60..72 => events.push(self.event("impression", now())),
                72..76 => events.push(self.event("share", now())),
                76..90 => rows.entry("likes").or_default().push(self.like(None)),
                90..94 => rows.entry("comments").or_default().push(self.comment()),
                94..96 => rows.entry("posts").or_default().push(self.new_post(None)),
                kind => {
                    if let Some(mut pair) = self.pair() {
                        if kind == 99 {
                            pair["op"] = "delete".into();
                        }
                        rows.entry("follows").or_default().push(pair);
                    }
                }
            }
        }
        for (table, rows) in &rows {
            put(node, table, rows)?;
        }
        for events in events.chunks(EVENTS) {
            send(node, events)?;
        }
        Ok(())
    }
}
