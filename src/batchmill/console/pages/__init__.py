"""The pages, a module a subject: read the address, ask the services, show a template."""
