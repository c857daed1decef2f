"""What is known of a graph: who makes and reads its values, their types and sizes, and that it is well-formed."""
