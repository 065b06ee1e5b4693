/** Publishes an event for deals that have just been won: instead of the flow Closedwon_Publish_Order_Requested. */
trigger ClosedwonEventTrigger on Opportunity(after insert, after update) {
    ClosedwonEvents.publish(ClosedwonDeals.newlyWon(Trigger.new, Trigger.oldMap));
}
