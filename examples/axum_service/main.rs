//! A service over HTTP that caches, reports its cache's health, and shuts down in order. [`app`] is the service, this its process.
//!
//! ```sh
//! cargo run --release --example axum_service --features metrics
//! LISTEN=127.0.0.1:8080 CACHEHOUSE_EXPIRE=1m cargo run --release --example axum_service --features metrics
//! ```
//!
//! It works alike with a Redis or Valkey and without one. What to try is what `GET /` answers.
#![expect(clippy::print_stdout, reason = "a program that talks to its user")]

mod app;

use std::error::Error;

use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(&address).await.map_err(|error| format!("{address}: {error}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    app::serve(listener).await?;
    println!("stopped");
    Ok(())
}
