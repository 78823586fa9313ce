-- Run once, by the postgres image, beside the database of the system: the schema registry's own.
CREATE DATABASE registry;
