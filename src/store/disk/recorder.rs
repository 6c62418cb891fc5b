//! `Recorder`: to come.
