"""What the operating system gives: processes, threads, sockets and files. Knows no map."""
