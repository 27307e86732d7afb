//! Layer 3: producer, consumer and admin client.
