mod client;
mod edge;
mod serve;
