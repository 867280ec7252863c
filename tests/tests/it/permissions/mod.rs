//! Users and accounts with limited permissions.

mod accounts;
mod generated;
mod generated_accounts;
mod generated_refused;
mod stream_accounts;
mod users;
