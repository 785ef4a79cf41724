"""Bytes that come and go: files taken in, sent, converted, made into tables; never held whole."""
