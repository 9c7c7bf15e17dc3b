"""What looks at steps and advantages: graphs, pictures, agreement, health."""
