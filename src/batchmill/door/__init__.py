"""What both doors share, the API's and the console's: roles, streamed bodies, file content."""
