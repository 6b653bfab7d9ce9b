"""What is known of the models without running them: published accuracies, licences, sizes and costs."""
