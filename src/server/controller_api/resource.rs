//! What the two ways to change configs share: which resource is meant, and the answers in the order of the request.

use std::collections::BTreeSet;

use crate::controller::request::{ApiError, ConfigResults};
use crate::metadata::{ConfigResource, ResourceType};
use crate::types::ErrorCode;

/// A resource as the wire names it.
pub(super) type Named<'a> = (i8, &'a str);

/// Those that stand more than once.
pub(super) fn named_twice<'a>(resources: impl Iterator<Item = Named<'a>>) -> BTreeSet<Named<'a>> {
    let mut seen = BTreeSet::new();
    resources.filter(|resource| !seen.insert(*resource)).collect()
}

/// Errors: `INVALID_REQUEST`, where the resource is one of `twice`.
pub(super) fn once(twice: &BTreeSet<Named<'_>>, code: i8, name: &str) -> Result<(), ApiError> {
    if twice.contains(&(code, name)) {
        let message = "Each resource must appear at most once.";
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    Ok(())
}

/// Errors: `INVALID_REQUEST`, where configs of such a thing are not kept.
pub(super) fn parse(code: i8, name: &str) -> Result<ConfigResource, ApiError> {
    let Some(resource_type) = ResourceType::from_wire(code) else {
        let message = format!("configs of resource type {code} are not kept");
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    };
    Ok(ConfigResource { resource_type, name: name.into() })
}

/// One answer for each of `asked`: its own refusal, or the controller's next answer.
pub(super) fn answers<T>(
    asked: &[Result<T, ApiError>],
    results: Result<ConfigResults, ApiError>,
) -> Vec<Result<(), ApiError>> {
    let (mut results, failure) = match results {
        Ok(results) => (results.into_iter(), Ok(())),
        Err(error) => (Vec::new().into_iter(), Err(error)),
    };
    let answers = asked.iter().map(|one| match one {
        Err(error) => Err(error.clone()),
        Ok(_) => failure.clone().and_then(|()| results.next().expect("one result a resource").1),
    });
    answers.collect()
}
