//! The routes below `/api/v1/admin`, for people with the role admin. The commit of a change also writes an audit entry
//! with the person who made the change. The audit also has reads of personal data and refused requests.

mod bulk;
mod found;
mod letters;
mod revocations;
mod source;
mod store;
mod users;

pub(super) use self::bulk::{
    BYTES, LINES, NOW_MAX_BYTES, compare, explain_post, feed_list, hand_over, rows, suggestion_list, trending_list,
};
pub(super) use self::found::{config, dead_groups, post_cards, post_details, search, user_card};
pub(super) use self::letters::{Discarding, Replaying, audit, dead_letter, dead_letters, discard, replay};
pub(super) use self::revocations::{Revoke, list, revoke, time_ms, unrevoke};
pub(super) use self::source::{Resnapshotting, Resuming, Seeking, bump_epoch, cdc, pause, resnapshot, resume, seek};
pub(super) use self::store::{BackingUp, CHECK_WAIT_MAX_S, backup, checked, read, verify};
pub(super) use self::users::{Forget, ForgetUsers, explain, invalidate, invalidate_cache, limits};
