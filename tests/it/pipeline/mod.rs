mod captures;
mod crash;
mod events;
mod garbage;
mod invariants;
mod kill_9;
