"""Access to the operating system: processes, threads, sockets and files. Knows no map."""
