mod naive;
mod oracle;
