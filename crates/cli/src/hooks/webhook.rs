//! A webhook: the payload by POST, answer by status.

use reqwest::redirect::Policy;

/// Posts `payload`. No redirect is followed: what the spec names is what is told.
///
/// # Errors
/// What it did, as the end of a sentence: it could not be reached, or answered with another status than 2xx.
pub async fn post(address: &str, payload: String) -> Result<(), String> {
    let agent = concat!("lakeshift/", env!("CARGO_PKG_VERSION"));
    let client = reqwest::Client::builder().redirect(Policy::none()).user_agent(agent).build();
    let client = client.map_err(|error| format!("could not be called: {error}"))?;
    let request = client.post(address).header("content-type", "application/json").body(payload);
    // The error's own text would name the address once more.
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("answered {}", answer.status())),
        Err(error) => Err(format!("could not be reached: {}", error.without_url())),
    }
}
