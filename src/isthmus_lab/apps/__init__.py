"""What the lab's images stand for: small programs that tell who they are and what they were shown."""
