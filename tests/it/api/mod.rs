mod bench;
mod client;
mod edge;
mod serve;
mod trending;
