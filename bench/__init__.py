"""What is measured: accuracy and speed."""
