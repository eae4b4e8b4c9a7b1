"""The I/O thread that carries a dialog's frames over a socket, for workers and clients alike."""
