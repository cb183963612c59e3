//! The PostgreSQL source in a configuration.

use crate::app;
use crate::cli::error::CliError;
use crate::config::Config;
use crate::source::postgres::session::PostgresSettings;

/// The settings of the server, the slot and the publication. The result is an error if changes do not come from
/// PostgreSQL directly.
pub(super) fn settings(config: &Config) -> Result<PostgresSettings, CliError> {
    app::postgres(config).ok_or_else(|| {
        CliError::Usage("changes do not come from PostgreSQL itself: set postgres.url, or NOVA_POSTGRES_URL".to_owned())
    })
}
