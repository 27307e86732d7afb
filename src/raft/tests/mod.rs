mod goldens;
mod oracle;
mod properties;
mod world;
