//! What is passed on to the controller: for each API, the answer where there is no controller, and when this broker has heard
//! of the outcome.

mod cluster;
mod configs;
mod partitions;
mod topics;

use super::forward::Forwarded;
use crate::controller::request::ApiError;
use crate::metadata::MetadataImage;
