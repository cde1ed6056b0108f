"""What every process needs: settings, logs, tasks, retries and its end."""
