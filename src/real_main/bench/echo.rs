//! The floor: what it costs to take a frame from a socket and to answer it.

use bytes::{Buf, BytesMut};
use ottla::protocol::ApiKey;
use ottla::protocol::frame::encode_response;
use ottla::protocol::messages::ProduceResponse;
use ottla::protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use ottla::types::Offset;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::cut_off;
use super::frames::PRODUCE_VERSION;
use crate::real_main::failure::{Exit, Failure};

/// Answers until the process is ended.
pub(super) async fn run(port: u16) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    let listener = listener.map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot listen on port {port}")).why(error)
    })?;
    println!("answering on 127.0.0.1:{port}, process {}; Ctrl-C ends it", std::process::id());
    loop {
        let (stream, _) = listener.accept().await.map_err(cut_off)?;
        let _ = stream.set_nodelay(true);
        ottla::runtime::task::spawn(async move {
            // A connection that breaks ends its measurement on the other side.
            let _ = serve(stream).await;
        });
    }
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = BytesMut::with_capacity(1 << 20);
    let mut answers = BytesMut::new();
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while let Some(length) = buffer.first_chunk::<4>().map(|prefix| u32::from_be_bytes(*prefix))
        {
            let whole = 4 + usize::try_from(length).unwrap_or(usize::MAX);
            if buffer.len() < whole || whole < 12 {
                buffer.reserve(whole.saturating_sub(buffer.len()).min(1 << 24));
                break;
            }
            let correlation = i32::from_be_bytes([buffer[8], buffer[9], buffer[10], buffer[11]]);
            buffer.advance(whole);
            answers.extend_from_slice(&answer(correlation));
        }
        stream.write_all(&answers).await?;
        answers.clear();
    }
}

/// What a broker would answer to one batch.
fn answer(correlation: i32) -> Vec<u8> {
    let partition =
        PartitionProduceResponse { base_offset: Some(Offset::ZERO), ..Default::default() };
    let topic = TopicProduceResponse {
        name: "bench".to_owned(),
        partition_responses: vec![partition],
        ..Default::default()
    };
    let response = ProduceResponse { responses: vec![topic], ..Default::default() };
    let slices = encode_response(correlation, ApiKey::Produce, PRODUCE_VERSION, &response)
        .expect("the version carries it");
    slices.concat()
}
