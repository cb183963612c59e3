mod board;
mod load;
mod naive;
mod oracle;
mod restart;
