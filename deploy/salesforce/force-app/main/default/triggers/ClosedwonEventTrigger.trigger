/** Publishes an event for deals that are won, changed or reopened. Replaces the flow Closedwon_Publish_Order_Requested. */
trigger ClosedwonEventTrigger on Opportunity(after insert, after update) {
    ClosedwonEvents.publish(ClosedwonDeals.withNews(Trigger.new, Trigger.oldMap));
}
