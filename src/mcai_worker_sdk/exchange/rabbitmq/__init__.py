"""The exchange on RabbitMQ. ``RabbitMQExchange`` is imported from its module, and brings the AMQP client in."""
