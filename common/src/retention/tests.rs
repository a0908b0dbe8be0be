//! The rules against a slow model, against each other, and against a hacked device.

mod attack;
mod calendar;
mod foreseen;
mod model;
mod rules;
mod words;
