mod captures;
mod crash;
mod dead_letters;
mod events;
mod garbage;
mod invariants;
mod kill_9;
mod source_faults;
